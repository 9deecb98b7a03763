"""Connections that serve any number of peers (`right=%any`): NAME is the template, NAME[1], … have one each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from ikeclone.connection import Auto, Connection, Identity
from ikeclone.errors import AuthenticationFailed, TsUnacceptable
from ikeclone.ike.narrowing import Selectors
from ikeclone.numbers import IdType, NotifyType
from ikeclone.selectors import IPAddress

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel
    from ikeclone.wire.message import Message


class TooMany(AuthenticationFailed):
    """The template has as many instances as it may have: the peer is as good as any, but for now there is no room."""

    notify = NotifyType.TEMPORARY_FAILURE


class Instances:
    """The instances of one template. Each is made for a peer that has proved who it is, and ends with its last SA."""

    def __init__(self, template: Tunnel) -> None:
        self._template, self._last = template, 0
        self._instances: dict[str, Tunnel] = {}
        # Several have one identity with `uniqueids=no` alone.
        self._of: dict[Identity | None, list[Tunnel]] = {}

    def __iter__(self) -> Iterator[Tunnel]:
        return iter(tuple(self._instances.values()))

    def __len__(self) -> int:
        return len(self._instances)

    def serving(self, peer: Identity, address: IPAddress, request: Message) -> Tunnel:
        """The instance of an authenticated peer: its former one when it comes back, else a new one.

        `request` is its IKE_AUTH. Raises TooMany.

        What a peer gets for as long as it is there is given here, and taken back in `end`.
        """
        former = self._former(peer, address, request)
        if former is not None:
            former.connection = _of_peer(former.connection, former.connection.name, peer, address)
            return former
        name = self._free()
        instance = self._template.instance(_of_peer(self._template.connection, name, peer, address))
        instance.peer = peer
        self._instances[name] = instance
        self._of.setdefault(peer, []).append(instance)
        return instance

    def end(self, instance: Tunnel) -> None:
        """The last SA of an instance is gone, and so is the instance."""
        del self._instances[instance.connection.name]
        same = self._of[instance.peer]
        same.remove(instance)
        if not same:
            del self._of[instance.peer]

    def claim(self, instance: Tunnel, remote: Selectors) -> None:
        """See that no other instance has any of this traffic: its peer's packets would go to this one.

        Raises TsUnacceptable.
        """
        held = self._template.endpoint.holdings.with_traffic
        for other in (child.tunnel for ours in remote for child in held(ours)):
            if other.parts.whole is not instance and other.template is self._template:
                raise TsUnacceptable(f"{other.connection.name} has this traffic already")

    def _former(self, peer: Identity, address: IPAddress, request: Message) -> Tunnel | None:
        """A peer without a name is never known to be the same again (RFC 7619 section 2.2).

        Of hosts that share a name, one is known that asks for the address inside the tunnel that it has, and that has
        not moved: it authenticates anew.
        """
        same = self._of.get(peer, []) if peer.type is not IdType.NULL else []
        if not self._template.host.settings.uniqueids:
            same = [t for t in same if t.connection.remote.address == address and t.iras.leases(request)]
        return same[-1] if same else None

    def _free(self) -> str:
        """The name with the next number that no instance has; one that was given back is the last to be given again."""
        most = self._template.host.settings.instance_limit
        for number in chain(range(self._last + 1, most + 1), range(1, self._last + 1)):
            name = f"{self._template.connection.name}[{number}]"
            if name not in self._template.endpoint.tunnels:
                self._last = number
                return name
        raise TooMany(f"{self._template.connection.name} has {len(self)} peers already")


def _of_peer(connection: Connection, name: str, peer: Identity, address: IPAddress) -> Connection:
    """The connection with this peer, which alone can bring it up."""
    named = connection.remote.identity if peer.type is IdType.NULL else peer
    remote = replace(connection.remote, address=address, identity=named)
    return replace(connection, name=name, remote=remote, auto=Auto.ADD)
