"""When Child SAs are rekeyed and when they end: by time, by what they carried, by their sequence numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.backend import SEQUENCE_NUMBERS, EspSuite, Limits, Volume
from ikeclone.connection import Connection
from ikeclone.ike.actions import SkipNumbers
from ikeclone.ike.child import Child, ChildState
from ikeclone.ike.established import rekey_after
from ikeclone.ike.informational import DeleteChildren
from ikeclone.ike.rekey_child import RekeyChild
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel

# A Child SA is rekeyed when it has carried about half of what it may. Both sides count the same packets: who opened it
# goes first, by up to this share of the whole on either side of the half.
_HALF, _SPREAD = 0.5, 0.125
# Sequence numbers that are left out beside those that a peer wants to be: more than are used meanwhile.
_MEANWHILE = 1 << 24
_FAR = 1 << 30


class Lifetimes:
    """Those of a connection's Child SAs."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel, self._host = tunnel, tunnel.host

    @property
    def _connection(self) -> Connection:
        return self._tunnel.connection

    def limits(self, suite: EspSuite, *, opened_by_us: bool) -> Limits:
        """What a new Child SA may carry; there is no soft limit for one that shall not be rekeyed."""
        volume = self._connection.volume
        packets = [volume.packets] if suite.esn else [volume.packets, SEQUENCE_NUMBERS]
        hard = Volume(volume.octets, min((most for most in packets if most is not None), default=None))
        if not self._connection.rekey:
            return Limits(hard=hard)
        offset = _SPREAD * self._host.fraction()
        share = _HALF - offset if opened_by_us else _HALF + offset
        return Limits(Volume(_share(hard.octets, share), _share(hard.packets, share)), hard)

    def start(self, child: Child, now: float) -> None:
        """Set the timers of a new Child SA."""
        timing, clones = self._connection.timing, self._tunnel.clones
        if self._connection.rekey:
            # The clones' times are far apart; a little chance keeps the two sides' apart as well.
            phase = (clones.spread(child.instance) + self._host.fraction() / 256) % 1.0
            after = rekey_after(timing.child_lifetime, timing, phase)
            self._host.timers.set(child, "rekey", now + after, lambda at: self._rekey(child, at))
        self._host.timers.set(child, "expire", now + timing.child_lifetime, lambda at: self._expire(child, at))

    def rekey_later(self, child: Child, now: float) -> None:
        """A rekey failed: try again in a moment, at random so that two sides do not collide again."""
        delay = self._host.settings.retry_delay * (0.2 + self._host.fraction())
        self._host.timers.set(child, "rekey", now + delay, lambda at: self._rekey(child, at))

    def used_up(self, sa: IkeSa, child: Child, now: float, *, hard: bool) -> None:
        """The data plane says that a Child SA has reached one of its limits."""
        if hard:
            self._end(sa, child, now)
        else:
            self._rekey(child, now)

    def skip(self, child: Child, count: int, now: float) -> None:
        """Leave out sequence numbers, as far as there are enough of them; a new Child SA has all of them again.

        So that one is made after a leap which may be too far for a receiver of extended ones, who sees their lower
        half only (RFC 4303 appendix A).
        """
        child.skipped += count + _MEANWHILE
        there = 1 << (64 if child.agreement.suite.esn else 32)
        if child.skipped < there // 2:
            self._host.emit(SkipNumbers(child.inbound_spi, count + _MEANWHILE))
        if child.skipped >= _FAR and self._connection.rekey:
            self._rekey(child, now)

    def _rekey(self, child: Child, now: float) -> None:
        if child.state is ChildState.INSTALLED and (owner := self._owner(child)) is not None:
            owner.enqueue(RekeyChild(owner, child), now)

    def _expire(self, child: Child, now: float) -> None:
        if child.state is not ChildState.DELETING and (owner := self._owner(child)) is not None:
            self._end(owner, child, now)

    def _end(self, sa: IkeSa, child: Child, now: float) -> None:
        """End a Child SA; a fallback that should have been rekeyed by now is made anew."""
        if self._connection.rekey:
            self._tunnel.children.replace_lost(sa, child, now)
        else:
            sa.enqueue(DeleteChildren(sa, (child,)), now)

    def _owner(self, child: Child) -> IkeSa | None:
        """The IKE SA that has this Child SA, if it is fit for exchanges; for a moment there may be two of them."""
        sas = (sa for sa in self._tunnel.endpoint.ike_sas() if sa.children.get(child.inbound_spi) is child)
        return next((sa for sa in sas if sa.state is State.ESTABLISHED), None)


def _share(limit: int | None, share: float) -> int | None:
    return None if limit is None else max(1, int(limit * share))
