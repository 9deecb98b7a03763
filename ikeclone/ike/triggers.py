"""The packets that want a Child SA: a peer that narrows shall keep what they need (RFC 7296 section 2.9)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ikeclone.errors import PeerError, SinglePairRequired, TemporaryFailure, TsUnacceptable
from ikeclone.ike.narrowing import Selectors, narrow, narrowed, of_end
from ikeclone.selectors import TrafficSelector

if TYPE_CHECKING:
    from ikeclone.backend import Path
    from ikeclone.connection import Connection
    from ikeclone.ike.child import Agreement
    from ikeclone.ike.tunnel import Tunnel

Packet = tuple[TrafficSelector, TrafficSelector]
MOST = 64


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request for a Child SA offers, and whose packet's selectors go first or are all of it.

    `wide`: there are selectors that have nothing of the packet.
    """

    connection: Connection
    packet: Packet | None = None
    single: bool = False
    wide: bool = False

    def are_met(self, agreement: Agreement) -> bool:
        """Whether the packet is among the traffic that was agreed on."""
        return self.packet is None or _fits(self.packet, agreement.local, agreement.remote)


class Triggers:
    """What a connection asks for when packets find no SA: one Child SA, and more for those that it is not for."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._packets: deque[Packet] = deque(maxlen=MOST)
        # Pairs of addresses that the peer has nothing for, and until when it is not asked again.
        self._refused: dict[Packet, float] = {}
        self._single = False
        # The packet that the peer has other traffic for when it may choose.
        self._alone: Packet | None = None

    def note(self, packet: Packet, now: float) -> bool:
        """A packet has found no SA; whether to ask for one."""
        wanted = now >= self._refused.get(_addresses(packet), now) and not self._is_carried(packet)
        if wanted and packet not in self._packets:
            self._packets.append(packet)
        return wanted

    def terms(self, path: Path) -> Terms:
        """What to offer now, on an IKE SA with this path: all that the connection is for, a packet's selectors first.

        Or only the selectors that the packet is in, if the peer has chosen others; or a single pair of addresses, if
        it wants no more; or, to renew what there is without a packet that wants more, the traffic of a part.
        """
        said = self._tunnel.connection
        local, remote = of_end(said.local, path.local), of_end(said.remote, path.remote)
        # An end that is only a host may have got another address since.
        for lost in [each for each in self._packets if not _fits(each, local, remote)]:
            self._packets.remove(lost)
        packet = self._packets[0] if self._packets else None
        if self._single:
            pair = _addresses(packet) if packet else (local[0], remote[0])
            ends = narrow(pair[:1], local)[:1], narrow(pair[1:], remote)[:1]
            return Terms(narrowed(said, *ends), packet, single=True)
        if packet is None:
            return Terms(self._renewed)
        near = _having(packet[0], local), _having(packet[1], remote)
        if packet == self._alone:
            local, remote = near
        offered = narrowed(said, (packet[0], *local), (packet[1], *remote))
        return Terms(offered, packet, wide=(local, remote) != near)

    @property
    def _renewed(self) -> Connection:
        tunnel = self._tunnel
        idle = not tunnel.is_part and tunnel.children.traps and not tunnel.clones.children
        return next((part.connection for part in tunnel.parts if idle), tunnel.connection)

    def go_on(self, now: float) -> None:
        """A request is done: ask for another Child SA if there are packets that none is for."""
        for packet in [each for each in self._packets if self._is_carried(each)]:
            self._packets.remove(packet)
        if self._packets and self._tunnel.usable:
            self._tunnel.openings.open_fallback(now)

    def refused(self, terms: Terms, error: PeerError, now: float) -> bool:
        """A request came to nothing; whether to ask again, for less (RFC 7296 section 2.9)."""
        if isinstance(error, SinglePairRequired) and not terms.single:
            self._single = True
            return True
        if isinstance(error, TsUnacceptable) and terms.wide:
            self._alone = terms.packet
            return True
        if terms.packet is not None and not isinstance(error, TemporaryFailure):
            self._give_up(terms.packet, now)
        return False

    def _give_up(self, packet: Packet, now: float) -> None:
        """Ask for nothing between these addresses for a while, whatever packets there are."""
        while len(self._refused) >= MOST:
            del self._refused[next(iter(self._refused))]
        self._refused[_addresses(packet)] = now + self._tunnel.host.settings.clone_backoff
        for each in [each for each in self._packets if _addresses(each) == _addresses(packet)]:
            self._packets.remove(each)

    def _is_carried(self, packet: Packet) -> bool:
        family = self._tunnel.parts.family
        held = [tunnel.children.traffic for tunnel in family if tunnel.clones.fallback is not None]
        return any(_fits(packet, *each) for each in held if each is not None)


def _having(wanted: TrafficSelector, selectors: Selectors) -> Selectors:
    return tuple(each for each in selectors if each.covers(wanted))


def _fits(packet: Packet, local: Selectors, remote: Selectors) -> bool:
    ours, theirs = packet
    return any(each.covers(ours) for each in local) and any(each.covers(theirs) for each in remote)


def _addresses(packet: Packet) -> Packet:
    """A packet's addresses, with all protocols and ports."""
    ours, theirs = (TrafficSelector(each.first, each.last) for each in packet)
    return ours, theirs
