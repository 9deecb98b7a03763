"""The life of one connection: its IKE SA, its Child SAs, and when to make them again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ikeclone.backend import ChildSa, Path, Policy
from ikeclone.connection import Auto, Choice, Connection, Identity
from ikeclone.errors import LocalError, PeerError
from ikeclone.ike.actions import ActivateChild, InstallChild, Kind, MoveChild, RemoveChild, Route, Unroute
from ikeclone.ike.auth import Authenticate, AuthResponder, local_identity, remote_identity, secret_for
from ikeclone.ike.child import Child, ChildState, Selectors
from ikeclone.ike.clones import Clones
from ikeclone.ike.create_child import CreateChild
from ikeclone.ike.established import rekey_after, settle
from ikeclone.ike.informational import DeleteChildren, DeleteIke
from ikeclone.ike.init import Initiation, InitRecord
from ikeclone.ike.narrowing import of_end
from ikeclone.ike.negotiation import Keyed
from ikeclone.ike.rekey_child import RekeyChild
from ikeclone.ike.rekey_ike import RekeyIke
from ikeclone.ike.sa import IkeSa, State

if TYPE_CHECKING:
    from ikeclone.ike.endpoint import Endpoint


class Tunnel:
    """What a connection has and wants. `wanted` asks for it to be up again when it is lost."""

    def __init__(self, endpoint: Endpoint, connection: Connection) -> None:
        self.endpoint, self.host, self.connection = endpoint, endpoint.host, connection
        self.clones = Clones(connection.clones)
        self.ike: IkeSa | None = None
        self.initiation: Initiation | None = None
        self.peer: Identity | None = None
        self.wanted = connection.auto is Auto.START
        self.rekeys: dict[Child, RekeyChild] = {}
        self._awaiting: set[Child] = set()
        self._attempts = 0
        if connection.auto is Auto.ONDEMAND:
            self._route(self._local(), self._remote())

    @property
    def detects_nat(self) -> bool:
        """Whether UDP encapsulation is possible at all (`encapsulation=`)."""
        return self.connection.encapsulation is not Choice.NO

    @property
    def forces_encapsulation(self) -> bool:
        """Whether ESP shall be in UDP although there is no NAT."""
        demanded = self.connection.encapsulation is Choice.YES
        return demanded or (self.detects_nat and self.host.resources.wants_encapsulation)

    def note(self, kind: Kind, text: str) -> None:
        """Tell what happens to this connection."""
        self.host.report(self.connection.name, kind, text)

    # What users and packets ask for

    def up(self, now: float) -> None:
        """Bring the connection up; raises LocalError when that cannot even be tried."""
        if self.clones.fallback is not None:
            self.note(Kind.CHILD_UP, "the connection is up already")
        elif self.ike is not None and self.ike.state is State.ESTABLISHED:
            self.ike.enqueue(CreateChild(self.ike, None), now)
        elif not self._connecting:
            self.initiate(now)

    def initiate(self, now: float) -> None:
        """Start a new IKE SA; raises LocalError without an address, a secret or a way to the peer."""
        local, remote = self.connection.local.address, self.connection.remote.address
        if local is None or remote is None:
            raise LocalError(f"{self.connection.name} names no address of its peer: only the peer can bring it up")
        secret_for(
            self.endpoint.secrets,
            local_identity(self.connection, local),
            remote_identity(self.connection, remote),
        )
        self.note(Kind.PROGRESS, f"initiating an IKE SA with {remote}")
        self.initiation = Initiation(self, Path(local, remote), now)
        self.endpoint.register(self.initiation)

    def down(self, now: float) -> None:
        """Take the connection down with all its clones; deleting the IKE SA deletes them all (section 1.4.1)."""
        self.wanted = False
        self.host.timers.cancel(self)
        if self.initiation is not None:
            self.initiation.fail(now, "taken down")
        if self.ike is None:
            self.note(Kind.IKE_DOWN, "the connection is down")
        elif self.ike.state is State.ESTABLISHED:
            self.ike.finish(DeleteIke(self.ike, "taken down"), now)

    def rekey(self, now: float, ike: bool) -> int:
        """Rekey the IKE SA or every Child SA; how many that are. Raises LocalError when there is nothing to rekey."""
        if self.ike is None or self.ike.state is not State.ESTABLISHED:
            raise LocalError(f"{self.connection.name} is not up: there is nothing to rekey")
        if ike:
            self.ike.enqueue(RekeyIke(self.ike), now)
            return 1
        children = [c for c in self.ike.children.values() if c.state is ChildState.INSTALLED]
        for child in children:
            self.ike.enqueue(RekeyChild(self.ike, child), now)
        return len(children)

    def acquire(self, cpu: int | None, now: float) -> None:
        """A packet found no SA of its own: bring the connection up, or open a clone for its CPU."""
        if self.clones.fallback is None:
            if not self._connecting:
                self.up(now)
        elif cpu is not None and self.clones.may_open(cpu, self.host.resources.cpus(), now) and self._usable:
            assert self.ike is not None
            self.ike.enqueue(CreateChild(self.ike, cpu), now)

    @property
    def _usable(self) -> bool:
        return self.ike is not None and self.ike.state is State.ESTABLISHED

    @property
    def _connecting(self) -> bool:
        return self.initiation is not None or (self.ike is None and self._has_embryo())

    def _has_embryo(self) -> bool:
        return any(sa.tunnel is self and sa.state is State.AUTHENTICATING for sa in self.endpoint.ike_sas())

    # The IKE SA

    def keyed(self, initiation: Initiation, sa: IkeSa, record: InitRecord, now: float) -> None:
        """IKE_SA_INIT is done on our side: go on with IKE_AUTH."""
        self.endpoint.forget(initiation)
        self.initiation = None
        self.endpoint.register(sa)
        me = local_identity(self.connection, sa.path.local)
        peer = remote_identity(self.connection, sa.path.remote)
        sa.enqueue(Authenticate(sa, record, secret_for(self.endpoint.secrets, me, peer)), now)

    def initiation_failed(self, initiation: Initiation, now: float, reason: str) -> None:
        """IKE_SA_INIT led nowhere."""
        self.endpoint.forget(initiation)
        self.initiation = None
        self.note(Kind.FAILED, reason)
        self._revive(now)

    def established(self, sa: IkeSa, now: float, peer: Identity, *, initial_contact: bool) -> None:
        """The peer is authenticated. Of two IKE SAs with it, one goes."""
        former, self.ike, self.peer = self.ike, sa, peer
        self.wanted = self.wanted or sa.initiator
        self._attempts = 0
        self.host.timers.cancel(self, "revive")
        self.settle(sa, now)
        self.note(Kind.IKE_UP, f"#{sa.serial}: IKE SA established with {peer} at {sa.path.remote}, {sa.suite}")
        if former is not None and former.state is State.ESTABLISHED:
            self._keep_one(former, sa, now, initial_contact)

    def settle(self, sa: IkeSa, now: float) -> None:
        """Let an IKE SA answer all that an established one does, and start its timers."""
        sa.established = now
        settle(sa, now)

    def _keep_one(self, former: IkeSa, new: IkeSa, now: float, initial_contact: bool) -> None:
        """An older IKE SA gives way; when both sides initiated at once, the one with the lower SPI does."""
        if former.established <= new.created:
            self.note(Kind.PROGRESS, f"#{former.serial}: replaced by #{new.serial}")
            if initial_contact:
                former.close(now, "the peer has started anew")
            else:
                former.finish(DeleteIke(former, "replaced"), now)
            return
        redundant = min(former, new, key=lambda sa: sa.spi_i)
        self.ike = new if redundant is former else former
        if redundant.initiator:
            self.host.timers.set(redundant, "redundant", now, lambda at: _finish(redundant, "redundant", at))

    def superseded(self, old: IkeSa, new: IkeSa) -> None:
        """The IKE SA was rekeyed."""
        if self.ike is old:
            self.ike = new
        self.note(Kind.IKE_REKEYED, f"#{new.serial}: IKE SA rekeyed, replaces #{old.serial}")

    def closed(self, sa: IkeSa, now: float, reason: str, *, peer_dead: bool) -> None:
        """An IKE SA has ended, whichever it was."""
        if self.ike is sa:
            self.ike = None
            self.note(Kind.IKE_DOWN, f"#{sa.serial}: IKE SA ended: {reason}")
        elif self.ike is None and sa.established < 0 and sa.initiator:
            self.note(Kind.FAILED, reason)
        else:
            return
        self.wanted = (self.wanted and peer_dead) or self.connection.auto is Auto.START
        if self.ike is None and self.initiation is None:
            self._revive(now)

    def forget(self, sa: IkeSa) -> None:
        """No message of this SA is answered any more."""
        self.endpoint.forget(sa)

    def _revive(self, now: float) -> None:
        if not self.wanted:
            return
        settings = self.host.settings
        delay = min(settings.retry_delay * 2.0**self._attempts, settings.retry_delay_limit)
        self._attempts += 1
        self.note(Kind.PROGRESS, f"will try again in {delay:.0f} seconds")
        self.host.timers.set(self, "revive", now + delay * (1 + 0.1 * self.host.fraction()), self._try_again)

    def _try_again(self, now: float) -> None:
        if self.ike is None and not self._connecting:
            try:
                self.initiate(now)
            except LocalError as error:
                self.note(Kind.FAILED, str(error))

    def half_open(self, sa: IkeSa, record: InitRecord, tunnels: tuple[Tunnel, ...]) -> AuthResponder:
        """Who answers IKE_AUTH for an SA that a peer asks for; `tunnels` are the connections it may mean."""
        return AuthResponder(sa, record, tunnels)

    # Child SAs

    def resource(self, cpu: int | None) -> bytes | None:
        """The data of SA_RESOURCE_INFO: nothing for the fallback, else a number that reveals no CPU (RFC 9611, 6).

        None leaves the notify out: clones are off, or the peer knows nothing of them.
        """
        if self.connection.clones == 0:
            return None
        if cpu is None:
            return b""
        return self.clones.free_instance().to_bytes(4, "big") if self.clones.per_resource else None

    def add_child(
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
        child = Child(self.host.serial(), self.connection.name, instance, cpu, agreement, sa.path, now, opened_by_us)
        if not self.clones.children:
            self._route(agreement.local, agreement.remote)
        sa.children[child.inbound_spi] = self.clones.children[child.inbound_spi] = child
        self.host.emit(InstallChild(self._child_sa(sa, child, keyed, replaces)))
        self._start_timers(child, now)
        kind, verb = (Kind.CHILD_UP, "up") if replaces is None else (Kind.CHILD_REKEYED, "rekeyed")
        self.host.report(self.connection.name, kind, _describe(child, verb), child.inbound_spi)
        return child

    def _child_sa(self, sa: IkeSa, child: Child, keyed: Keyed, replaces: Child | None) -> ChildSa:
        agreement = child.agreement
        return ChildSa(
            connection=self.connection.name,
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
            replay_window=self.connection.replay_window,
            replaces=replaces.inbound_spi if replaces is not None else None,
        )

    def activate(self, child: Child) -> None:
        """Send on this SA; what sent for its CPU before only receives."""
        self._awaiting.discard(child)
        self.host.timers.cancel(child, "activate")
        if (former := self.clones.outbound(child.cpu)) is not None:
            former.active = False
        child.active = True
        self.host.emit(ActivateChild(child.inbound_spi))

    def activate_on_proof(self, child: Child) -> None:
        """Send on this SA once the peer shows that it has our answer: by a new request or by deleting the old SA."""
        if child.state is ChildState.INSTALLED and not child.active:
            self._awaiting.add(child)

    def activate_later(self, child: Child, now: float) -> None:
        """Send on this clone on proof, or when the answer has had time to arrive; until then the fallback does."""
        self.activate_on_proof(child)
        delay = self.host.settings.activation_delay
        self.host.timers.set(child, "activate", now + delay, lambda _: self.activate(child))

    def proven(self, sa: IkeSa) -> None:
        """The peer has sent a new request, so it has our last response."""
        for child in [c for c in self._awaiting if c.inbound_spi in sa.children]:
            self.activate(child)

    def remove_child(self, sa: IkeSa, child: Child, now: float, *, by_peer: bool = False) -> None:
        """Take a Child SA out; another one of its CPU, if there is one, sends instead."""
        if child.state is ChildState.REMOVED:
            return
        child.enter(ChildState.REMOVED)
        sa.children.pop(child.inbound_spi, None)
        self.clones.children.pop(child.inbound_spi, None)
        self.host.timers.cancel(child)
        self._awaiting.discard(child)
        heir = self.clones.successor(child)
        if child.active and heir is not None:
            self.activate(heir)
        child.active = False
        self.host.emit(RemoveChild(child.inbound_spi))
        if heir is None or heir.instance != child.instance:
            self.host.report(self.connection.name, Kind.CHILD_DOWN, _describe(child, "down"), child.inbound_spi)
        if not self.clones.children:
            self._unroute()
        elif by_peer and self.clones.fallback is None and sa.state is State.ESTABLISHED:
            self._replace_fallback(now)

    def _replace_fallback(self, now: float) -> None:
        """Clones without a fallback: make a new one, unless the peer is deleting everything just now."""
        at = now + self.host.settings.activation_delay * (1 + self.host.fraction())
        self.host.timers.set(self, "fallback", at, self._open_fallback)

    def _open_fallback(self, now: float) -> None:
        if self._usable and self.clones.children and self.clones.fallback is None:
            assert self.ike is not None
            self.ike.enqueue(CreateChild(self.ike, None), now)

    def lose_child(self, sa: IkeSa, child: Child, now: float) -> None:
        """The peer does not have this SA, or nobody has: drop it, and make it anew if it was the fallback."""
        self.remove_child(sa, child, now)
        if child.cpu is None and self.clones.fallback is None and self._usable and self.wanted:
            sa.enqueue(CreateChild(sa, None), now)

    def replace_lost(self, sa: IkeSa, child: Child, now: float) -> None:
        """Nobody receives on this SA any more: delete it on the peer's side too, and make the fallback anew."""
        was_fallback = child.cpu is None
        self._forsake(sa, child, now)
        if was_fallback and self.clones.fallback is None and sa.state is State.ESTABLISHED:
            sa.enqueue(CreateChild(sa, None), now)

    def refuse_child(self, sa: IkeSa, child: Child, reason: str, now: float) -> None:
        """The data plane does not take this SA."""
        self.note(Kind.FAILED, f"{child.name} cannot be installed: {reason}")
        self._forsake(sa, child, now)

    def _forsake(self, sa: IkeSa, child: Child, now: float) -> None:
        if child.state in (ChildState.DELETING, ChildState.REMOVED):
            return
        if child.active and (heir := self.clones.successor(child)) is not None:
            self.activate(heir)
        sa.enqueue(DeleteChildren(sa, (child,)), now)

    def move_child(self, child: Child, path: Path) -> None:
        """The peer's ESP comes from elsewhere now."""
        child.path = path
        self.host.emit(MoveChild(child.inbound_spi, path))

    def first_child_failed(self, sa: IkeSa, now: float, reason: str) -> None:
        """The IKE SA is there, but the peer refuses the Child SA: without one the IKE SA is of no use."""
        self.note(Kind.FAILED, f"no Child SA: {reason}")
        sa.finish(DeleteIke(sa, "it has no Child SA"), now)

    def clone_refused(self, error: PeerError, now: float, *, lasting: bool) -> None:
        """The peer takes no further clone: do not ask again for a while; the fallback goes on carrying the packets."""
        settings = self.host.settings
        delay = settings.clone_backoff if lasting else settings.retry_delay * (1 + self.host.fraction())
        self.clones.refused_until = now + delay
        self.note(Kind.REFUSED, f"no further clone for {delay:.0f} seconds: {error}")

    def _start_timers(self, child: Child, now: float) -> None:
        timing = self.connection.timing
        lifetime = timing.child_lifetime
        if self.connection.rekey:
            after = rekey_after(lifetime, timing, self.host.fraction())
            self.host.timers.set(child, "rekey", now + after, lambda at: self._rekey(child, at))
        self.host.timers.set(child, "expire", now + lifetime, lambda at: self._expire(child, at))

    def rekey_later(self, child: Child, now: float) -> None:
        """A rekey failed: try again in a moment, at random so that two sides do not collide again."""
        delay = self.host.settings.retry_delay * (0.2 + self.host.fraction())
        self.host.timers.set(child, "rekey", now + delay, lambda at: self._rekey(child, at))

    def _rekey(self, child: Child, now: float) -> None:
        if self._usable and child.state is ChildState.INSTALLED:
            assert self.ike is not None
            self.ike.enqueue(RekeyChild(self.ike, child), now)

    def _expire(self, child: Child, now: float) -> None:
        if self._usable and child.state is not ChildState.DELETING:
            assert self.ike is not None
            self.ike.enqueue(DeleteChildren(self.ike, (child,)), now)

    # Routing

    def _local(self) -> Selectors:
        address = self.connection.local.address
        return of_end(self.connection.local, address) if address is not None else self.connection.local.selectors

    def _remote(self) -> Selectors:
        address = self.connection.remote.address
        return of_end(self.connection.remote, address) if address is not None else self.connection.remote.selectors

    def _route(self, local: Selectors, remote: Selectors) -> None:
        connection, sa = self.connection, self.ike
        if sa is not None:
            path = sa.path
        elif connection.local.address is not None and connection.remote.address is not None:
            path = Path(connection.local.address, connection.remote.address)
        else:
            return
        source = connection.local.source
        self.host.emit(Route(Policy(connection.name, local, remote, path, connection.mode, source)))

    def _unroute(self) -> None:
        if self.connection.auto is not Auto.ONDEMAND:
            self.host.emit(Unroute(self.connection.name))


def _finish(sa: IkeSa, reason: str, now: float) -> None:
    if sa.state is State.ESTABLISHED:
        sa.finish(DeleteIke(sa, reason), now)


def _describe(child: Child, verb: str) -> str:
    agreement = child.agreement
    cpu = "" if child.cpu is None else f" on CPU {child.cpu}"
    selectors = f"{' '.join(map(str, agreement.local))} === {' '.join(map(str, agreement.remote))}"
    spis = f"ESP=>{agreement.outbound_spi:08x} <{agreement.inbound_spi:08x}"
    return f'#{child.serial}: "{child.name}" {verb}{cpu}: {spis} {agreement.suite} {selectors}'
