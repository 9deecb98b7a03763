"""The Child SAs of a connection: from agreement to removal, and which of them sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ikeclone.backend import ChildSa, Counters, Path, Policy
from ikeclone.connection import Auto, ClonesMode
from ikeclone.errors import PeerError, TemporaryFailure
from ikeclone.ike.actions import (
    ActivateChild,
    DeactivateChild,
    InstallChild,
    Kind,
    MoveChild,
    RemoveChild,
    Route,
    Unroute,
)
from ikeclone.ike.child import Child, ChildState, Selectors
from ikeclone.ike.clones import Clones
from ikeclone.ike.create_child import CreateChild
from ikeclone.ike.established import rekey_after
from ikeclone.ike.informational import DeleteChildren
from ikeclone.ike.narrowing import of_end
from ikeclone.ike.negotiation import Keyed
from ikeclone.ike.rekey_child import RekeyChild
from ikeclone.ike.sa import IkeSa, State

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


class Children:
    """The life of a connection's Child SAs, whichever IKE SA they belong to. `clones` knows which CPU each serves."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel, self._host, self._connection = tunnel, tunnel.host, tunnel.connection
        self.clones = Clones(tunnel.connection.clones, self._host.fraction())
        self.rekeys: dict[Child, RekeyChild] = {}
        # Children that send once the peer is known to have our response, and the newest request when we gave it.
        self._awaiting: dict[Child, int] = {}
        self._cpus: frozenset[int] = self._host.resources.cpus()
        if self._connection.auto is Auto.ONDEMAND:
            self._route(self._local(), self._remote())

    def add(
        self,
        sa: IkeSa,
        keyed: Keyed,
        now: float,
        *,
        cpu: int | None,
        opened_by_us: bool,
        replaces: Child | None = None,
    ) -> Child:
        """Receive on a new Child SA from now on; `activate` makes it send."""
        agreement = keyed.agreement
        if replaces is not None:
            agreement = replace(agreement, per_resource=replaces.agreement.per_resource)
            instance, opened_by_us = replaces.instance, replaces.opened_by_us
        else:
            instance = 0 if cpu is None else self.clones.free_instance()
        child = Child(self._host.serial(), self._connection.name, instance, cpu, agreement, sa.path, now, opened_by_us)
        if not self.clones.children:
            self._route(agreement.local, agreement.remote)
        sa.children[child.inbound_spi] = self.clones.children[child.inbound_spi] = child
        self._host.emit(InstallChild(self._child_sa(sa, child, keyed, replaces)))
        self._start_timers(child, now)
        kind, verb = (Kind.CHILD_UP, "up") if replaces is None else (Kind.CHILD_REKEYED, "rekeyed")
        self._host.report(self._connection.name, kind, _describe(child, verb), child.inbound_spi)
        if cpu is None and replaces is None:
            self._open_all_later(now, opened_by_us=opened_by_us)
        return child

    def _child_sa(self, sa: IkeSa, child: Child, keyed: Keyed, replaces: Child | None) -> ChildSa:
        agreement = child.agreement
        return ChildSa(
            connection=self._connection.name,
            cpu=child.cpu,
            inbound_spi=agreement.inbound_spi,
            outbound_spi=agreement.outbound_spi,
            suite=agreement.suite,
            inbound_keys=keyed.inbound,
            outbound_keys=keyed.outbound,
            local=agreement.local,
            remote=agreement.remote,
            path=sa.path,
            udp_encapsulation=sa.abilities.nat.encapsulate,
            mode=agreement.mode,
            replay_window=self._connection.replay_window,
            replaces=replaces.inbound_spi if replaces is not None else None,
        )

    def activate(self, child: Child) -> None:
        """Send on this SA; what sent for its CPU before only receives."""
        self._awaiting.pop(child, None)
        self._host.timers.cancel(child, "activate")
        if (former := self.clones.outbound(child.cpu)) is not None:
            former.active = False
        child.active = True
        self._host.emit(ActivateChild(child.inbound_spi))

    def deactivate(self, child: Child) -> None:
        """Send on this SA no more, but on another one of its CPU if there is one, else on the fallback."""
        if not child.active:
            return
        if (heir := self.clones.successor(child)) is not None:
            self.activate(heir)
        else:
            child.active = False
            self._host.emit(DeactivateChild(child.inbound_spi))

    def serve(self, child: Child) -> None:
        """Send on a new SA, unless its CPU has another clone that does: then it only receives (RFC 9611 section 3)."""
        sender = self.clones.outbound(child.cpu)
        if sender is None or sender.instance == child.instance:
            self.activate(child)

    def serve_on_proof(self, sa: IkeSa, child: Child) -> None:
        """Send on this SA once the peer shows that it has our answer: by a later request or by deleting the old SA."""
        if child.state is ChildState.INSTALLED and not child.active:
            self._awaiting[child] = sa.responses.newest

    def serve_later(self, sa: IkeSa, child: Child, now: float) -> None:
        """Send on a clone of the peer's on proof, or when our answer has had time to arrive.

        Until then the fallback carries its CPU's packets.
        """
        self.serve_on_proof(sa, child)
        self._serve_in_time(child, now)
        if self._host.timers.when(self._tunnel, "open all") is not None:
            self._open_all_later(now, opened_by_us=False)

    def _serve_in_time(self, child: Child, now: float) -> None:
        delay = self._host.settings.activation_delay
        self._host.timers.set(child, "activate", now + delay, lambda _: self._stop_waiting(child))

    def _stop_waiting(self, child: Child) -> None:
        self._host.timers.cancel(child, "activate")
        self._awaiting.pop(child, None)
        self.serve(child)

    def proven(self, sa: IkeSa, message_id: int) -> None:
        """A new request came: by its window the peer has our answers to the older ones (RFC 7296 section 2.3)."""
        has = message_id - sa.responses.size
        for child in [c for c, newest in self._awaiting.items() if newest <= has and c.inbound_spi in sa.children]:
            self._stop_waiting(child)

    def doubted(self, sa: IkeSa, now: float) -> None:
        """The peer repeats a request, so an answer of ours was lost: wait longer for proof."""
        for child in self._awaiting:
            if child.inbound_spi in sa.children and self._host.timers.when(child, "activate") is not None:
                self._serve_in_time(child, now)

    def carried_over(self, new: IkeSa) -> None:
        """The IKE SA was rekeyed; in the new one message IDs begin anew."""
        for child in self._awaiting:
            if child.inbound_spi in new.children:
                self._awaiting[child] = -1

    def remove(self, sa: IkeSa, child: Child, now: float, *, by_peer: bool = False) -> None:
        """Take a Child SA out; another one of its CPU, if there is one, sends instead."""
        if child.state is ChildState.REMOVED:
            return
        child.enter(ChildState.REMOVED)
        sa.children.pop(child.inbound_spi, None)
        self.clones.children.pop(child.inbound_spi, None)
        self._host.timers.cancel(child)
        self._awaiting.pop(child, None)
        heir = self.clones.successor(child)
        if child.active and heir is not None:
            self.activate(heir)
        child.active = False
        self._host.emit(RemoveChild(child.inbound_spi))
        if heir is None or heir.instance != child.instance:
            self._host.report(self._connection.name, Kind.CHILD_DOWN, _describe(child, "down"), child.inbound_spi)
        if not self.clones.children:
            self._unroute()
        elif by_peer and self.clones.clones and self.clones.fallback is None and sa.state is State.ESTABLISHED:
            self._replace_fallback(now)

    # Clones

    def open(self, cpu: int, now: float) -> None:
        """Open a clone for a CPU that has traffic, if it may have one."""
        sa = self._tunnel.ike
        if sa is not None and self._tunnel.usable and self.clones.may_open(cpu, self._host.resources.cpus(), now):
            sa.enqueue(CreateChild(sa, cpu), now)

    def _open_all_later(self, now: float, *, opened_by_us: bool) -> None:
        """An eager connection opens its clones at once, but leaves the start to who opened the fallback.

        Otherwise two eager sides would open twice as many as they need.
        """
        if self._connection.clones_mode is ClonesMode.EAGER:
            delay = 0.0 if opened_by_us else self._host.settings.activation_delay * (1 + self._host.fraction())
            self._host.timers.set(self._tunnel, "open all", now + delay, self._open_all)

    def _open_all(self, now: float) -> None:
        for cpu in sorted(self._host.resources.cpus()):
            self.open(cpu, now)

    def clone_refused(self, error: PeerError, now: float, *, lasting: bool) -> None:
        """The peer takes no clone now: do not ask again for a while; the fallback goes on carrying the packets."""
        settings = self._host.settings
        least = settings.clone_backoff if lasting else settings.retry_delay * (1 + self._host.fraction())
        delay = self.clones.refuse(now, least, settings.clone_backoff_limit, lasting=lasting)
        if delay is None:
            return
        self._tunnel.note(Kind.REFUSED, f"no further clone for {delay:.0f} seconds: {error}")
        if self._connection.clones_mode is ClonesMode.EAGER and not lasting:
            self._host.timers.set(self._tunnel, "open all", now + delay, self._open_all)

    def survey(self, counters: Mapping[int, Counters], now: float) -> None:
        """Take down clones that are idle and those of CPUs that are gone; traffic opens them again."""
        cpus = self._host.resources.cpus()
        stale = [c for c in self.clones.clones if c.cpu not in cpus or self._is_idle(c, counters, now)]
        self.delete([c for c in stale if c.state is ChildState.INSTALLED], now)
        if cpus - self._cpus and self._connection.clones_mode is ClonesMode.EAGER:
            self._open_all(now)
        self._cpus = cpus

    def _is_idle(self, child: Child, counters: Mapping[int, Counters], now: float) -> bool:
        counted, patience = counters.get(child.inbound_spi), self._connection.clones_idle
        if counted is None or not patience:
            return False
        return now - max(counted.in_last, counted.out_last, child.created) >= patience

    def delete(self, children: Sequence[Child], now: float) -> None:
        """Take SAs down in one message; nothing is sent on them any more, and all is received that still comes."""
        sa = self._tunnel.ike
        if sa is not None and self._tunnel.usable and children:
            for child in children:
                self.deactivate(child)
            sa.enqueue(DeleteChildren(sa, children), now)

    # The fallback

    def fallback_refused(self, error: PeerError, now: float) -> None:
        """There is no fallback now; what is only a matter of time is tried again."""
        if isinstance(error, TemporaryFailure):
            self._tunnel.note(Kind.PROGRESS, f"no Child SA yet, will try again: {error}")
            self._replace_fallback(now)
        else:
            self._tunnel.note(Kind.FAILED, f"no Child SA: {error}")

    def _replace_fallback(self, now: float) -> None:
        """Clones without a fallback: make a new one, unless the peer is deleting everything just now."""
        at = now + self._host.settings.activation_delay * (1 + self._host.fraction())
        self._host.timers.set(self._tunnel, "fallback", at, self._open_fallback)

    def _open_fallback(self, now: float) -> None:
        needed = self._tunnel.wanted or bool(self.clones.children)
        if needed:
            self.open_fallback(now)

    def open_fallback(self, now: float, instead_of: Child | None = None) -> None:
        """Make the fallback, unless it is there or being made; `instead_of` is one that is about to be deleted."""
        sa, clones = self._tunnel.ike, self.clones
        if clones.fallback in (None, instead_of) and None not in clones.pending and sa is not None:
            sa.enqueue(CreateChild(sa, None), now)

    def lose(self, sa: IkeSa, child: Child, now: float) -> None:
        """The peer does not have this SA, or nobody has: drop it, and make it anew if it was the fallback."""
        self.remove(sa, child, now)
        if child.cpu is None and self._tunnel.wanted:
            self.open_fallback(now)

    def replace_lost(self, sa: IkeSa, child: Child, now: float) -> None:
        """Nobody receives on this SA any more: delete it on the peer's side too, and make the fallback anew."""
        self._forsake(sa, child, now)
        if child.cpu is None:
            self.open_fallback(now, instead_of=child)

    def refuse(self, sa: IkeSa, child: Child, reason: str, now: float) -> None:
        """The data plane does not take this SA."""
        self._tunnel.note(Kind.FAILED, f"{child.name} cannot be installed: {reason}")
        self._forsake(sa, child, now)
        if child.cpu is None:
            self._host.timers.set(self._tunnel, "fallback", now + self._tunnel.next_delay(), self._open_fallback)

    def _forsake(self, sa: IkeSa, child: Child, now: float) -> None:
        if child.state in (ChildState.DELETING, ChildState.REMOVED):
            return
        self.deactivate(child)
        sa.enqueue(DeleteChildren(sa, (child,)), now)

    def move(self, child: Child, path: Path) -> None:
        """The peer's ESP comes from elsewhere now."""
        child.path = path
        self._host.emit(MoveChild(child.inbound_spi, path))

    def _start_timers(self, child: Child, now: float) -> None:
        timing = self._connection.timing
        lifetime = timing.child_lifetime
        if self._connection.rekey:
            # The clones' times are far apart; a little chance keeps the two sides' apart as well.
            phase = (self.clones.rekey_phase(child.instance) + self._host.fraction() / 256) % 1.0
            after = rekey_after(lifetime, timing, phase)
            self._host.timers.set(child, "rekey", now + after, lambda at: self._rekey(child, at))
        self._host.timers.set(child, "expire", now + lifetime, lambda at: self._expire(child, at))

    def rekey_later(self, child: Child, now: float) -> None:
        """A rekey failed: try again in a moment, at random so that two sides do not collide again."""
        delay = self._host.settings.retry_delay * (0.2 + self._host.fraction())
        self._host.timers.set(child, "rekey", now + delay, lambda at: self._rekey(child, at))

    def _rekey(self, child: Child, now: float) -> None:
        if self._tunnel.usable and child.state is ChildState.INSTALLED:
            assert self._tunnel.ike is not None
            self._tunnel.ike.enqueue(RekeyChild(self._tunnel.ike, child), now)

    def _expire(self, child: Child, now: float) -> None:
        if self._tunnel.usable and child.state is not ChildState.DELETING:
            assert self._tunnel.ike is not None
            self._tunnel.ike.enqueue(DeleteChildren(self._tunnel.ike, (child,)), now)

    # Routing

    def _local(self) -> Selectors:
        address = self._connection.local.address
        return of_end(self._connection.local, address) if address is not None else self._connection.local.selectors

    def _remote(self) -> Selectors:
        address = self._connection.remote.address
        return of_end(self._connection.remote, address) if address is not None else self._connection.remote.selectors

    def _route(self, local: Selectors, remote: Selectors) -> None:
        connection, sa = self._connection, self._tunnel.ike
        if sa is not None:
            path = sa.path
        elif connection.local.address is not None and connection.remote.address is not None:
            path = Path(connection.local.address, connection.remote.address)
        else:
            return
        source = connection.local.source
        self._host.emit(Route(Policy(connection.name, local, remote, path, connection.mode, source)))

    def _unroute(self) -> None:
        if self._connection.auto is not Auto.ONDEMAND:
            self._host.emit(Unroute(self._connection.name))


def _describe(child: Child, verb: str) -> str:
    agreement = child.agreement
    cpu = "" if child.cpu is None else f" on CPU {child.cpu}"
    selectors = f"{' '.join(map(str, agreement.local))} === {' '.join(map(str, agreement.remote))}"
    spis = f"ESP=>{agreement.outbound_spi:08x} <{agreement.inbound_spi:08x}"
    return f'#{child.serial}: "{child.name}" {verb}{cpu}: {spis} {agreement.suite} {selectors}'
