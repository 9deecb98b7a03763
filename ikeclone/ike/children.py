"""The Child SAs of a connection, from agreement to removal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ikeclone.backend import ChildSa, Path, Policy
from ikeclone.connection import Auto, Connection
from ikeclone.ike.actions import InstallChild, Kind, MoveChild, RemoveChild, Route, Unroute
from ikeclone.ike.child import Child, ChildState
from ikeclone.ike.clones import Clones
from ikeclone.ike.informational import DeleteChildren
from ikeclone.ike.lifetimes import Lifetimes
from ikeclone.ike.narrowing import Selectors, of_end
from ikeclone.ike.negotiation import Keyed
from ikeclone.ike.rekey_child import RekeyChild
from ikeclone.ike.roaming import own_address
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.senders import Senders
from ikeclone.ike.state import State

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


class Children:
    """The life of a connection's Child SAs, whichever IKE SA they belong to. `clones` knows which CPU each serves."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel, self._host = tunnel, tunnel.host
        self._policy: Policy | None = None
        self.clones = Clones(tunnel.connection.clones, self._host.fraction())
        self.rekeys: dict[Child, RekeyChild] = {}
        self.senders = Senders(self._host, self.clones)
        self.lifetimes = Lifetimes(tunnel)
        self.trap()

    def trap(self) -> None:
        """Have packets bring the connection up, if it wants that (`auto=ondemand`)."""
        if self._connection.auto is Auto.ONDEMAND and not self.clones.children and (path := self._way()) is not None:
            connection = self._connection
            self._route(path, of_end(connection.local, path.local), of_end(connection.remote, path.remote))

    @property
    def traffic(self) -> tuple[Selectors, Selectors] | None:
        """What all Child SAs are or have to be for, ours and the peer's; None if that is open, as for a new address."""
        held = self._policy if self.traps or self.clones.children else None
        if held is None or self._tunnel.irac.has_left(held.local):
            return None
        return held.local, held.remote

    @property
    def traps(self) -> bool:
        """Whether packets of all the traffic bring the connection up, wherever there is no Child SA for them."""
        return self._connection.auto is Auto.ONDEMAND and not self._connection.local.asks

    @property
    def _connection(self) -> Connection:
        return self._tunnel.connection

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
        """Receive on a new Child SA from now on; `senders` decides when it sends."""
        agreement = keyed.agreement
        if replaces is not None:
            agreement = replace(agreement, per_resource=replaces.agreement.per_resource)
            instance, opened_by_us = replaces.instance, replaces.opened_by_us
        else:
            instance = 0 if cpu is None else self.clones.free_instance()
        path = self._path(sa.esp_path, instance, udp=sa.abilities.nat.encapsulate)
        child = Child(
            self._host.serial(), self._connection.name, instance, cpu, agreement, path, now, opened_by_us, self._tunnel
        )
        if sa.state is State.REKEYED:
            # The IKE SA was replaced while this was negotiated: it is made anew on the new one.
            child.enter(ChildState.REKEYED)
        child.limits = self.lifetimes.limits(agreement.suite, opened_by_us=opened_by_us)
        if not self.clones.children or self._differs(sa):
            self._route(sa.esp_path, agreement.local, agreement.remote)
        sa.children[child.inbound_spi] = self.clones.children[child.inbound_spi] = child
        self._tunnel.endpoint.holdings.add(child)
        self._host.emit(InstallChild(self._child_sa(sa, child, keyed, replaces)))
        self.lifetimes.start(child, now)
        kind, verb = (Kind.CHILD_UP, "up") if replaces is None else (Kind.CHILD_REKEYED, "rekeyed")
        self._host.report(self._connection.name, kind, _describe(child, verb), child.inbound_spi)
        if cpu is None and replaces is None:
            self._tunnel.openings.fallback_up(now, opened_by_us=opened_by_us)
        return child

    def _path(self, path: Path, instance: int, *, udp: bool) -> Path:
        """Where an instance's ESP goes; a clone may have a UDP source port of its own (`clones-encap=`)."""
        if instance and udp and self._connection.clones_encap:
            return replace(path, local_port=self.clones.port(instance))
        return path

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
            path=child.path,
            udp_encapsulation=sa.abilities.nat.encapsulate,
            mode=agreement.mode,
            replay_window=self._connection.replay_window,
            replaces=replaces.inbound_spi if replaces is not None else None,
            clones=agreement.per_resource,
            handling=self._connection.handling,
            limits=child.limits,
            whole=self._tunnel.parts.whole_of(self._tunnel),
        )

    def remove(self, sa: IkeSa, child: Child, now: float, *, by_peer: bool = False) -> None:
        """Take a Child SA out; another one of its CPU, if there is one, sends instead."""
        if child.state is ChildState.REMOVED:
            return
        child.enter(ChildState.REMOVED)
        sa.children.pop(child.inbound_spi, None)
        self.clones.children.pop(child.inbound_spi, None)
        self._tunnel.endpoint.holdings.remove(child)
        self._host.timers.cancel(child)
        heir = self.clones.successor(child)
        self.senders.forget(child, heir)
        self._host.emit(RemoveChild(child.inbound_spi))
        if heir is None or heir.instance != child.instance:
            self._host.report(self._connection.name, Kind.CHILD_DOWN, _describe(child, "down"), child.inbound_spi)
        wished = by_peer and sa.state is State.ESTABLISHED
        if not self.clones.children:
            self.leave_route()
            if wished:
                self._tunnel.revival.plan_child(child, now)
            self._tunnel.parts.end_if_unused(self._tunnel)
        elif wished and self.clones.clones and self.clones.fallback is None:
            self._tunnel.openings.replace_fallback(now)

    def lose(self, sa: IkeSa, child: Child, now: float) -> None:
        """The peer does not have this SA, or nobody has: drop it, and make it anew if it was the fallback."""
        self.remove(sa, child, now)
        if child.cpu is None and self._tunnel.wanted:
            self._tunnel.openings.open_fallback(now)

    def replace_lost(self, sa: IkeSa, child: Child, now: float) -> None:
        """Nobody receives on this SA any more: delete it on the peer's side too, and make the fallback anew."""
        self._forsake(sa, child, now)
        if child.cpu is None:
            self._tunnel.openings.open_fallback(now, instead_of=child)

    def refuse(self, sa: IkeSa, child: Child, reason: str, now: float) -> None:
        """The data plane does not take this SA."""
        self._tunnel.note(Kind.FAILED, f"{child.name} cannot be installed: {reason}")
        self._forsake(sa, child, now)
        if child.cpu is None:
            self._tunnel.openings.replace_fallback(now, self._tunnel.revival.next_delay())

    def _forsake(self, sa: IkeSa, child: Child, now: float) -> None:
        if child.state not in (ChildState.DELETING, ChildState.REMOVED):
            sa.enqueue(DeleteChildren(sa, (child,)), now)

    def move(self, sa: IkeSa, child: Child, path: Path) -> None:
        """A Child SA takes another way from now on."""
        udp = sa.abilities.nat.encapsulate
        child.path = self._path(path, child.instance, udp=udp)
        self._host.emit(MoveChild(child.inbound_spi, child.path, udp))

    # Routing

    def _way(self) -> Path | None:
        """Where packets would go: as the IKE SA does, else from our address to the peer's if both are known."""
        sa, peer = self._tunnel.ike, self._connection.remote.address
        if sa is not None:
            return sa.esp_path
        if peer is None or (address := own_address(self._tunnel, peer)) is None:
            return None
        return Path(address, peer)

    def _differs(self, sa: IkeSa) -> bool:
        """Whether the peer has come back from elsewhere, or has given us another address."""
        known = self._policy and (self._policy.path.remote, self._policy.addresses)
        return known != (sa.path.remote, self._tunnel.irac.addresses)

    def _route(self, path: Path, local: Selectors, remote: Selectors) -> None:
        connection = self._connection
        self._policy = Policy(
            connection.name,
            local,
            remote,
            path,
            connection.mode,
            connection.local.source,
            connection.handling,
            self._tunnel.irac.addresses,
            self._tunnel.parts.whole_of(self._tunnel),
        )
        self._host.emit(Route(self._policy))

    def reroute(self, sa: IkeSa, child: Child) -> None:
        """A device may have been down, and what leads into the tunnel gone with it."""
        self._route(sa.esp_path, child.agreement.local, child.agreement.remote)

    def leave_route(self) -> None:
        """Without a Child SA the traffic goes its way; not if one is on its way, so that none leaves in the clear."""
        needed = self.clones.children or None in self.clones.pending
        if not needed and self._connection.auto is not Auto.ONDEMAND:
            self._host.emit(Unroute(self._connection.name))


def _describe(child: Child, verb: str) -> str:
    agreement = child.agreement
    cpu = "" if child.cpu is None else f" on CPU {child.cpu}"
    selectors = f"{' '.join(map(str, agreement.local))} === {' '.join(map(str, agreement.remote))}"
    spis = f"ESP=>{agreement.outbound_spi:08x} <{agreement.inbound_spi:08x}"
    return f'#{child.serial}: "{child.name}" {verb}{cpu}: {spis} {agreement.suite} {selectors}'
