"""When Child SAs are opened and when clones are taken down: by traffic or at once, for want of it, or with a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ikeclone.backend import Counters
from ikeclone.connection import ClonesMode
from ikeclone.errors import PeerError, StateNotFound, TemporaryFailure
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import Child, ChildState
from ikeclone.ike.childless import OpenFirst
from ikeclone.ike.create_child import CreateChild
from ikeclone.ike.informational import DeleteChildren

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


class Openings:
    """What a connection asks its peer for beyond the first Child SA, and how long it waits after a refusal."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel, self._host, self._clones = tunnel, tunnel.host, tunnel.clones
        self._eager = tunnel.connection.clones_mode is ClonesMode.EAGER
        self._patience = tunnel.connection.clones_idle
        self._cpus = self._host.resources.cpus()
        # Our request for a fallback that awaits its response.
        self.asking: CreateChild | None = None

    # Clones

    def open(self, cpu: int, now: float) -> None:
        """Open a clone for a CPU that has traffic, if it may have one."""
        sa = self._tunnel.ike
        if sa is not None and self._tunnel.usable and self._clones.may_open(cpu, self._host.resources.cpus(), now):
            sa.enqueue(CreateChild(sa, self._tunnel, cpu), now)

    def fallback_up(self, now: float, *, opened_by_us: bool) -> None:
        """An eager connection opens its clones at once, unless the peer opened the fallback: then it goes first.

        Otherwise two eager sides would open twice as many as they need.
        """
        self._clones.forgive()
        if self._eager:
            self._open_all_later(0.0 if opened_by_us else self._grace(), now)

    def clone_accepted(self, now: float) -> None:
        """The peer opens clones: the ones that we want are perhaps among those that follow."""
        if self._host.timers.when(self._tunnel, "open all") is not None:
            self._open_all_later(self._grace(), now)

    def _grace(self) -> float:
        """How long the peer may take for its next step, a little at random."""
        return self._host.settings.activation_delay * (1 + self._host.fraction())

    def _open_all_later(self, delay: float, now: float) -> None:
        self._host.timers.set(self._tunnel, "open all", now + delay, self._open_all)

    def _open_all(self, now: float) -> None:
        for cpu in sorted(self._host.resources.cpus()):
            self.open(cpu, now)

    def clone_refused(self, error: PeerError, now: float, *, lasting: bool) -> None:
        """The peer takes no clone now: do not ask again for a while; the fallback goes on carrying the packets."""
        settings = self._host.settings
        least = settings.clone_backoff if lasting else settings.retry_delay * (1 + self._host.fraction())
        delay = self._clones.refuse(error.notify.name, now, least, settings.clone_backoff_limit, lasting=lasting)
        if delay is None:
            return
        self._tunnel.note(Kind.REFUSED, f"no further clone for {delay:.0f} seconds: {error}")
        if self._eager and not lasting:
            self._open_all_later(delay, now)

    @property
    def wants_counters(self) -> bool:
        """Whether there is an SA that may be idle, or one whose use would prove that the peer has it."""
        return bool(self._patience and self._transient) or self._tunnel.children.senders.waiting

    @property
    def _transient(self) -> list[Child]:
        """What traffic brings back: clones, and in the end a part of a connection that packets bring up."""
        part = self._tunnel.is_part and self._tunnel.parts.whole.children.traps
        return list(self._clones) if part and not self._clones.clones else self._clones.clones

    def survey(self, counters: Mapping[int, Counters], now: float) -> None:
        """Take down what is idle and the clones of CPUs that are gone; traffic opens them again."""
        self._tunnel.children.senders.used(counters)
        cpus = self._host.resources.cpus()
        installed = [c for c in self._transient if c.state is ChildState.INSTALLED]
        going = [c for c in installed if c.cpu not in (None, *cpus) or self._is_idle(c, counters, now)]
        if going and self._tunnel.usable and self._tunnel.ike is not None:
            self._tunnel.ike.enqueue(DeleteChildren(self._tunnel.ike, going), now)
        if self._eager and cpus - self._cpus:
            self._open_all(now)
        self._cpus = cpus

    def _is_idle(self, child: Child, counters: Mapping[int, Counters], now: float) -> bool:
        counted = counters.get(child.inbound_spi)
        if counted is None or not self._patience:
            return False
        return now - max(counted.in_last, counted.out_last, child.created) >= self._patience

    # The fallback

    def fallback_refused(self, error: PeerError, now: float) -> None:
        """There is no fallback now; what is only a matter of time is tried again."""
        if isinstance(error, TemporaryFailure | StateNotFound):
            self._tunnel.note(Kind.PROGRESS, f"no Child SA yet, will try again: {error}")
            self.replace_fallback(now, self._tunnel.revival.next_delay())
        elif not self._tunnel.approach.go_alone(now):
            self._tunnel.note(Kind.FAILED, f"no Child SA: {error}")
            self._tunnel.revival.plan_child(None, now)

    def replace_fallback(self, now: float, delay: float | None = None) -> None:
        """Clones without a fallback: make a new one soon, unless the peer is deleting everything just now."""
        at = now + (self._grace() if delay is None else delay)
        self._host.timers.set(self._tunnel, "fallback", at, self._open_fallback_if_needed)

    def _open_fallback_if_needed(self, now: float) -> None:
        if self._tunnel.usable and (self._tunnel.wanted or self._clones.children):
            self.open_fallback(now)

    def open_fallback(self, now: float, instead_of: Child | None = None) -> None:
        """Make the fallback, unless it is there or being made; `instead_of` is one that is about to be deleted.

        One that a former IKE SA is asked for goes with that one.
        """
        sa, fallback = self._tunnel.ike, self._clones.fallback
        asked = None in self._clones.queued or (self.asking is not None and self.asking.sa is sa)
        if sa is None or asked:
            return
        if fallback in (None, instead_of):
            sa.enqueue(CreateChild(sa, self._tunnel, None), now)
        elif fallback.inbound_spi not in sa.children:
            # That of a former IKE SA, which goes when this one has its own.
            sa.enqueue(OpenFirst(sa, self._tunnel, None), now)
