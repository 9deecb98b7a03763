"""The road warrior, IRAC in RFC 7296 section 2.19: has the peer give it an address inside the tunnel."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ikeclone.connection import Connection
from ikeclone.errors import InternalAddressFailure
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import Agreement
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.narrowing import Selectors, narrow, of_end
from ikeclone.numbers import CfgType
from ikeclone.selectors import IPAddress, TrafficSelector
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import CfgAttribute, Configuration

if TYPE_CHECKING:
    from ikeclone.backend import Path
    from ikeclone.ike.tunnel import Tunnel

_EVERYTHING = {4: TrafficSelector.of(ip_network("0.0.0.0/0")), 6: TrafficSelector.of(ip_network("::/0"))}
# They go to resolvers and scripts: nothing that could be an option or a path (RFC 1123 section 2.1).
_LABEL = rb"(?!-)[A-Za-z0-9_-]{1,63}"
_DOMAIN = re.compile(rb"(?=.{1,253}\Z)%b(?:\.%b)*\.?" % (_LABEL, _LABEL))
_MOST_NAMES = 16


class Irac:
    """What the peer of a connection gave it: addresses, which the data plane gives to the host, and name servers."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.addresses: tuple[IPAddress, ...] = ()
        self.dns: tuple[IPAddress, ...] = ()
        self.domains: tuple[str, ...] = ()
        self._former: tuple[IPAddress, ...] = ()

    @property
    def _asks(self) -> bool:
        return self._tunnel.connection.local.asks

    def _versions(self, path: Path) -> list[int]:
        """The versions of IP behind the peer: there must be an address of one of them."""
        return sorted({each.first.version for each in of_end(self._tunnel.connection.remote, path.remote)})

    def offering(self, wanted: Connection, path: Path) -> Connection:
        """What is wanted, for IKE_AUTH, which leaves our traffic to the peer if that gives us an address."""
        everything = tuple(_EVERYTHING[version] for version in self._versions(path))
        return _with_local(self._tunnel.connection, everything) if self._asks else wanted

    def request(self, path: Path) -> Payloads:
        """The request for IKE_AUTH: for the addresses that we had, if there are some."""
        if not self._asks:
            return ()
        versions = self._versions(path)
        known = (*self.addresses, *self._former, self._tunnel.connection.local.source)
        wanted: dict[int, IPAddress] = {each.version: each for each in reversed(known) if each is not None}
        attributes = (
            *(CfgAttribute.internal_address(version, wanted.get(version)) for version in versions),
            *(CfgAttribute.internal_dns(version) for version in versions),
            CfgAttribute.internal_domain(),
        )
        return (Configuration(CfgType.REQUEST, attributes),)

    def take(self, message: Message) -> None:
        """Take what the response gives; raises InternalAddressFailure when that is nothing, InvalidSyntax."""
        if not self._asks:
            return
        reply = next((each for each in message.all(Configuration) if each.type is CfgType.REPLY), None)
        if reply is None or not (addresses := _addresses(reply)):
            raise InternalAddressFailure("the peer gives us no address")
        servers = tuple(each for each in reply.internal_dns() if _of_a_host(each))[:_MOST_NAMES]
        self._use(addresses, servers, _domains(reply.internal_domains()))
        self._tunnel.note(Kind.PROGRESS, f"the peer gives us {self}")

    def narrow(self, agreement: Agreement) -> Agreement:
        """Only the traffic of what the peer has given is ours; raises TsUnacceptable when it agrees to none of it."""
        if not self._asks:
            return agreement
        return replace(agreement, local=narrow(agreement.local, self._tunnel.connection.local.selectors))

    def has_left(self, local: Selectors) -> bool:
        """Whether none of this traffic is ours any more, as the peer has given us another address."""
        ours = self._tunnel.connection.local.selectors
        return self._asks and not any(one.intersection(other) for one in ours for other in local)

    def share(self, other: Irac) -> None:
        """Use what the connection has whose IKE SA this one uses."""
        if self._asks and other.addresses:
            self._use(other.addresses, other.dns, other.domains)

    def release(self) -> None:
        """The IKE SA is gone, and what the peer gave with it."""
        if self.addresses:
            self._former = self.addresses
            self._use((), (), ())
            self._tunnel.children.trap()

    def _use(self, addresses: tuple[IPAddress, ...], dns: tuple[IPAddress, ...], domains: tuple[str, ...]) -> None:
        self.addresses, self.dns, self.domains = addresses, dns, domains
        ours = tuple(TrafficSelector.of(ip_network(address)) for address in addresses)
        self._tunnel.connection = _with_local(self._tunnel.connection, ours)

    def __str__(self) -> str:
        servers = f", name servers {' '.join(map(str, self.dns))}" if self.dns else ""
        names = f" for {' '.join(self.domains)}" if self.domains else ""
        return f"the address {' '.join(map(str, self.addresses))}{servers}{names}"


def _with_local(connection: Connection, selectors: Selectors) -> Connection:
    return replace(connection, local=replace(connection.local, selectors=selectors))


def _addresses(reply: Configuration) -> tuple[IPAddress, ...]:
    """One of each version, if it is one that a host can have."""
    given = [address for version in (4, 6) for address in reply.internal_addresses(version)[:1] if address is not None]
    return tuple(each for each in given if _of_a_host(each))


def _of_a_host(address: IPAddress) -> bool:
    """Whether a host can have the address, and only one of them."""
    return not (address.is_unspecified or address.is_multicast or address.is_loopback or address.is_link_local)


def _domains(names: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(name.decode("ascii") for name in names if _DOMAIN.fullmatch(name))[:_MOST_NAMES]
