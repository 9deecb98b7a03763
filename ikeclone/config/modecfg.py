"""Keywords of configuration payloads: which end gets its address inside the tunnel from the other, and out of what."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Annotated

from pydantic import PlainValidator

from ikeclone.config import values
from ikeclone.config.keyworded import Keyworded
from ikeclone.connection import Pool
from ikeclone.errors import ConfigError
from ikeclone.selectors import IPAddress

if TYPE_CHECKING:
    from ikeclone.config.connections import Conn


class ModecfgEnd(Keyworded):
    """What an end says of its address inside the tunnel; None leaves it open."""

    sourceip: Annotated[IPAddress | str | None, PlainValidator(values.source)] = None
    modecfgclient: Annotated[bool | None, PlainValidator(values.yes_no)] = None
    modecfgserver: Annotated[bool | None, PlainValidator(values.yes_no)] = None
    addresspool: Annotated[tuple[Pool, ...], PlainValidator(values.pools)] = ()

    @property
    def asks(self) -> bool:
        """Whether the other end gives it its address inside the tunnel."""
        return bool(self.modecfgclient or self.addresspool or self.sourceip == values.FROM_PEER)

    @property
    def source(self) -> IPAddress | None:
        """The address that its own packets have, as far as it is known."""
        return None if isinstance(self.sourceip, str) else self.sourceip


class ModecfgKeywords(Keyworded):
    """What a conn tells an end beside its address, and whether it heeds what it is told."""

    modecfgdns: Annotated[tuple[IPAddress, ...], PlainValidator(values.addresses)] = ()
    modecfgdomains: Annotated[tuple[str, ...], PlainValidator(values.domains)] = ()
    ignore_peer_dns: Annotated[bool, PlainValidator(values.yes_no)] = False

    def check_modecfg(self, left: ModecfgEnd, right: ModecfgEnd) -> None:
        """Raises ValueError unless the ends fit together."""
        for name, end, other in (("left", left, right), ("right", right, left)):
            if end.modecfgclient is False and end.asks:
                raise ValueError(f"{name}modecfgclient=no excludes {name}addresspool= and {name}sourceip=%config")
            if end.asks and (other.asks or other.modecfgserver is False):
                raise ValueError(f"{name} gets its address from the other end, which must not ask too or refuse")
            if end.modecfgserver and not other.asks:
                raise ValueError(f"{name}modecfgserver=yes, but the other end asks for nothing: see modecfgclient=")
        if self.modecfgdomains and not self.modecfgdns:
            raise ValueError("modecfgdomains= says what the servers of modecfgdns= know of: name some")
        if self.modecfgdns and not (left.addresspool or right.addresspool):
            raise ValueError("modecfgdns= is for an end that has leftaddresspool= or rightaddresspool=")


def overlaps(conns: Iterable[Conn]) -> list[ConfigError]:
    """The pools that have addresses in common without being the same: each would lease what the other has leased."""
    pools = {
        pool: conn for conn in conns for end in (conn.keywords.left, conn.keywords.right) for pool in end.addresspool
    }
    return [
        pools[one].place.error(f"conn {pools[one].name}: the addresspool {one} overlaps {other} of {pools[other].name}")
        for other, one in combinations(pools, 2)
        if one.selector.intersection(other.selector)
    ]
