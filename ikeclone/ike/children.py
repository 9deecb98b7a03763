"""The Child SAs of a connection: from agreement to removal, and which of them sends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ikeclone.backend import ChildSa, Path, Policy
from ikeclone.connection import Auto
from ikeclone.ike.actions import ActivateChild, InstallChild, Kind, MoveChild, RemoveChild, Route, Unroute
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
        self.clones = Clones(tunnel.connection.clones)
        self.rekeys: dict[Child, RekeyChild] = {}
        self._awaiting: set[Child] = set()
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
            instance = replaces.instance
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
        self._awaiting.discard(child)
        self._host.timers.cancel(child, "activate")
        if (former := self.clones.outbound(child.cpu)) is not None:
            former.active = False
        child.active = True
        self._host.emit(ActivateChild(child.inbound_spi))

    def activate_on_proof(self, child: Child) -> None:
        """Send on this SA once the peer shows that it has our answer: by a new request or by deleting the old SA."""
        if child.state is ChildState.INSTALLED and not child.active:
            self._awaiting.add(child)

    def activate_later(self, child: Child, now: float) -> None:
        """Send on this clone on proof, or when the answer has had time to arrive; until then the fallback does."""
        self.activate_on_proof(child)
        delay = self._host.settings.activation_delay
        self._host.timers.set(child, "activate", now + delay, lambda _: self.activate(child))

    def proven(self, sa: IkeSa) -> None:
        """The peer has sent a new request, so it has our last response."""
        for child in [c for c in self._awaiting if c.inbound_spi in sa.children]:
            self.activate(child)

    def remove(self, sa: IkeSa, child: Child, now: float, *, by_peer: bool = False) -> None:
        """Take a Child SA out; another one of its CPU, if there is one, sends instead."""
        if child.state is ChildState.REMOVED:
            return
        child.enter(ChildState.REMOVED)
        sa.children.pop(child.inbound_spi, None)
        self.clones.children.pop(child.inbound_spi, None)
        self._host.timers.cancel(child)
        self._awaiting.discard(child)
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

    def _replace_fallback(self, now: float) -> None:
        """Clones without a fallback: make a new one, unless the peer is deleting everything just now."""
        at = now + self._host.settings.activation_delay * (1 + self._host.fraction())
        self._host.timers.set(self._tunnel, "fallback", at, self._open_fallback)

    def _open_fallback(self, now: float) -> None:
        needed = self._tunnel.wanted or bool(self.clones.children)
        if self._tunnel.usable and needed and self.clones.fallback is None:
            assert self._tunnel.ike is not None
            self._tunnel.ike.enqueue(CreateChild(self._tunnel.ike, None), now)

    def lose(self, sa: IkeSa, child: Child, now: float) -> None:
        """The peer does not have this SA, or nobody has: drop it, and make it anew if it was the fallback."""
        self.remove(sa, child, now)
        if child.cpu is None and self.clones.fallback is None and self._tunnel.usable and self._tunnel.wanted:
            sa.enqueue(CreateChild(sa, None), now)

    def replace_lost(self, sa: IkeSa, child: Child, now: float) -> None:
        """Nobody receives on this SA any more: delete it on the peer's side too, and make the fallback anew."""
        was_fallback = child.cpu is None
        self._forsake(sa, child, now)
        if was_fallback and self.clones.fallback is None and sa.state is State.ESTABLISHED:
            sa.enqueue(CreateChild(sa, None), now)

    def refuse(self, sa: IkeSa, child: Child, reason: str, now: float) -> None:
        """The data plane does not take this SA."""
        self._tunnel.note(Kind.FAILED, f"{child.name} cannot be installed: {reason}")
        self._forsake(sa, child, now)
        if child.cpu is None:
            self._host.timers.set(self._tunnel, "fallback", now + self._tunnel.next_delay(), self._open_fallback)

    def _forsake(self, sa: IkeSa, child: Child, now: float) -> None:
        if child.state in (ChildState.DELETING, ChildState.REMOVED):
            return
        if child.active and (heir := self.clones.successor(child)) is not None:
            self.activate(heir)
        sa.enqueue(DeleteChildren(sa, (child,)), now)

    def move(self, child: Child, path: Path) -> None:
        """The peer's ESP comes from elsewhere now."""
        child.path = path
        self._host.emit(MoveChild(child.inbound_spi, path))

    def _start_timers(self, child: Child, now: float) -> None:
        timing = self._connection.timing
        lifetime = timing.child_lifetime
        if self._connection.rekey:
            after = rekey_after(lifetime, timing, self._host.fraction())
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
