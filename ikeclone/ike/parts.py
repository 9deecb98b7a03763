"""Child SAs of one connection for different traffic (RFC 7296 section 2.9): it has those of one, parts have the rest.

A part is a `Tunnel` of its own on the IKE SA of its connection, NAME[1], NAME[2], …, with a policy, clones and rekeys
of its own. It is made when both sides agree on traffic that there are no Child SAs for, and ends with its last one.
Where the traffic of two overlaps, the narrower one goes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from ikeclone.connection import Auto
from ikeclone.errors import NoAdditionalSas
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import Agreement
from ikeclone.ike.narrowing import Selectors, narrowed

if TYPE_CHECKING:
    from ikeclone.connection import Connection
    from ikeclone.ike.sa import IkeSa
    from ikeclone.ike.tunnel import Tunnel

_Traffic = tuple[frozenset[object], frozenset[object]]


class Parts:
    """The parts of one connection, or of one of its instances: `whole`. They and it have these in common."""

    def __init__(self, whole: Tunnel) -> None:
        self.whole = whole
        self._parts: dict[_Traffic, Tunnel] = {}

    def __iter__(self) -> Iterator[Tunnel]:
        return iter(tuple(self._parts.values()))

    def __contains__(self, name: object) -> bool:
        """Whether it is the name of the connection or of a part."""
        return any(tunnel.connection.name == name for tunnel in self.family)

    @property
    def family(self) -> tuple[Tunnel, ...]:
        """The connection and its parts."""
        return (self.whole, *self)

    @property
    def configured(self) -> Tunnel:
        """The connection as the configuration has it."""
        return self.whole.template or self.whole

    def whole_of(self, tunnel: Tunnel) -> str | None:
        """The name of the connection that a tunnel is only a part of."""
        return None if tunnel is self.whole else self.whole.connection.name

    def under(self, tunnel: Tunnel) -> tuple[Tunnel, ...]:
        """All that goes up and down with one of them: everything with the connection, a part alone."""
        return self.family if tunnel is self.whole else (tunnel,)

    def serving(self, local: Selectors, remote: Selectors) -> Tunnel | None:
        """Who has Child SAs of this traffic, or may have them; None if that takes a new part."""
        wanted = _traffic(local, remote)
        held = self.whole.children.traffic
        free = held is None or _traffic(*held) == wanted
        return self._parts.get(wanted, self.whole if free else None)

    def taking(self, sa: IkeSa, agreement: Agreement) -> Tunnel:
        """Who takes a new Child SA of this IKE SA, a new part if it must be; raises NoAdditionalSas."""
        tunnel = self.serving(agreement.local, agreement.remote) or self._new(agreement)
        if tunnel is not self.whole and tunnel.ike is not sa:
            tunnel.join(sa)
        return tunnel

    def stands(self, tunnel: Tunnel) -> bool:
        """Whether there is what bringing a tunnel up asks for; one with traps gets the rest of its parts by packets."""
        each = self.under(tunnel) if tunnel.children.traps else (tunnel,)
        return any(part.clones.fallback is not None for part in each)

    def check_room(self) -> None:
        """See that there are not too many Child SAs bound to no CPU; each part has one. Raises NoAdditionalSas."""
        if sum(tunnel.clones.regular for tunnel in self.family) >= self.whole.host.settings.regular_limit:
            raise NoAdditionalSas("there are enough Child SAs already")

    def end_if_unused(self, part: Tunnel) -> None:
        """The last Child SA of a part is gone: so is the part, unless one is on its way."""
        traffic = _traffic(part.connection.local.selectors, part.connection.remote.selectors)
        if self._parts.get(traffic) is not part or part.clones.children or part.clones.pending:
            return
        del self._parts[traffic]
        part.host.timers.cancel(part)
        part.endpoint.tunnels.pop(part.connection.name, None)
        part.ike = None
        part.note(Kind.IKE_DOWN, "the last Child SA of this traffic is gone")

    def _new(self, agreement: Agreement) -> Tunnel:
        self.check_room()
        connection = _part(self.whole.connection, self._name(), agreement)
        part = self.whole.part(connection)
        self._parts[_traffic(agreement.local, agreement.remote)] = part
        return part

    def _name(self) -> str:
        names = (f"{self.whole.connection.name}[{number}]" for number in count(1))
        return next(name for name in names if name not in self.whole.endpoint.tunnels)


def _part(connection: Connection, name: str, agreement: Agreement) -> Connection:
    """The connection with this traffic alone, which comes up with a Child SA.

    Where a number says which of several connections has a packet, a part goes before its connection.
    """
    handling, said = connection.handling, connection.handling.priority
    if said:
        handling = replace(handling, priority=said - 1)
    alone = narrowed(connection, agreement.local, agreement.remote)
    return replace(alone, name=name, auto=Auto.ADD, handling=handling)


def _traffic(local: Selectors, remote: Selectors) -> _Traffic:
    return frozenset(local), frozenset(remote)
