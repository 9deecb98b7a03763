"""When a connection that failed or was lost is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.errors import LocalError
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import Child
from ikeclone.ike.timers import pause

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


class Revival:
    """Brings up a connection that is wanted, after a time that grows with each attempt."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel, self._timers, self._attempts = tunnel, tunnel.host.timers, 0
        # Until when packets do not bring it up.
        self._rests_until = 0.0

    def done(self) -> None:
        """The connection has an IKE SA: the next failure is a first one again."""
        self._attempts, self._rests_until = 0, 0.0
        self._timers.cancel(self._tunnel, "revive")

    def failed(self, reason: str, now: float) -> None:
        """What was asked for did not come about: packets do not ask again at once."""
        self._tunnel.note(Kind.FAILED, reason)
        self._rests_until = now + min(self._delay, self._tunnel.host.settings.clone_backoff)
        if not self._tunnel.wanted:  # one that is wanted counts when it plans
            self._attempts += 1

    def rests(self, now: float) -> bool:
        """Whether packets that want it up have to wait."""
        return now < self._rests_until

    def roamed(self, now: float) -> None:
        """This host has other addresses: neither the connection nor packets that want it wait any longer."""
        self._rests_until = 0.0
        if self._tunnel.wanted and self._tunnel.approach.initiation is None:
            self.attempt(now)

    def plan(self, now: float) -> None:
        """Try again in a while, if the connection is wanted, at the peer's own address."""
        self._tunnel.redirects.forget()
        if not self._tunnel.wanted:
            return
        delay = self.next_delay()
        self._tunnel.note(Kind.PROGRESS, f"will try again in {delay:.0f} seconds")
        self._timers.set(self._tunnel, "revive", now + delay, self.attempt)

    def plan_child(self, former: Child | None, now: float) -> None:
        """The peer has deleted the last Child SA, or refuses one: ask for one in a while, if it shall stay up.

        Once such an SA has lasted for longer than any pause, the next pause is a first one again.
        """
        if not self._tunnel.parts.whole.connection.stays_up:
            self._let_be()
        elif self._tunnel.wanted:
            self._ask_again(former, now)

    def _ask_again(self, former: Child | None, now: float) -> None:
        if former is not None and now - former.created > self._tunnel.host.settings.retry_delay_limit:
            self._attempts = 0
        delay = self.next_delay()
        self._tunnel.note(Kind.PROGRESS, f"will ask for a Child SA in {delay:.0f} seconds")
        self._tunnel.openings.replace_fallback(now, delay)

    def _let_be(self) -> None:
        """The peer has taken the connection down, as it might have by deleting the IKE SA: so it is, till asked for."""
        family = self._tunnel.parts.family
        if not any(each.clones.children or None in each.clones.pending for each in family):
            self._tunnel.parts.whole.wanted = False

    def next_delay(self) -> float:
        """Seconds until something that failed is tried again: each time longer, until the peer is there again."""
        delay = self._delay
        self._attempts += 1
        return delay * (1 + 0.1 * self._tunnel.host.fraction())

    @property
    def _delay(self) -> float:
        settings = self._tunnel.host.settings
        return pause(settings.retry_delay, self._attempts, settings.retry_delay_limit)

    def attempt(self, now: float) -> None:
        """Try now, unless that is under way."""
        if self._tunnel.ike is None and not self._tunnel.approach.connecting:
            try:
                self._tunnel.approach.start(now)
            except LocalError as error:
                self._tunnel.note(Kind.FAILED, str(error))
