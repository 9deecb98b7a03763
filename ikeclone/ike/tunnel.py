"""The life of one connection: its IKE SA, its Child SAs, and when to make them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.connection import Auto, Choice, Connection, Identity
from ikeclone.errors import LocalError
from ikeclone.ike import sharing
from ikeclone.ike.actions import Kind
from ikeclone.ike.approach import Approach
from ikeclone.ike.auth import AuthResponder
from ikeclone.ike.child import ChildState
from ikeclone.ike.children import Children
from ikeclone.ike.clones import Clones
from ikeclone.ike.established import settle
from ikeclone.ike.informational import DeleteIke, take_down
from ikeclone.ike.instances import Instances
from ikeclone.ike.irac import Irac
from ikeclone.ike.iras import Iras
from ikeclone.ike.leaving import Leaving
from ikeclone.ike.narrowing import Selectors
from ikeclone.ike.opening import InitRecord
from ikeclone.ike.openings import Openings
from ikeclone.ike.parts import Parts
from ikeclone.ike.proofs import Proofs
from ikeclone.ike.reauth import Reauthentication
from ikeclone.ike.redirect import Redirects
from ikeclone.ike.rekey_child import RekeyChild
from ikeclone.ike.rekey_ike import RekeyIke
from ikeclone.ike.resume import Client
from ikeclone.ike.revival import Revival
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.ike.succession import Succession
from ikeclone.ike.triggers import Packet, Triggers
from ikeclone.wire.message import Message

if TYPE_CHECKING:
    from ikeclone.ike.endpoint import Endpoint


class Tunnel:
    """What a connection has and wants. `wanted` asks for it to be up again when it is lost.

    One with `instances` for its peers has no SA itself; an instance knows its `template`. `parts` have the Child SAs of
    other traffic, and are the same object for all of them.
    """

    def __init__(
        self, endpoint: Endpoint, connection: Connection, template: Tunnel | None = None, parts: Parts | None = None
    ) -> None:
        self.endpoint, self.host, self.connection = endpoint, endpoint.host, connection
        self.template, self.instances = template, Instances(self)
        self.parts: Parts = parts or Parts(self)
        # The IKE SA that it uses; and those that are its own, in their order.
        self.ike: IkeSa | None = None
        self.own: dict[IkeSa, None] = {}
        # Whether an IKE SA without a Child SA will do (RFC 6023).
        self.ike_only = False
        self.resumption = Client(self)
        self.peer: Identity | None = None
        self.wanted = connection.auto is Auto.START
        self.irac: Irac = parts.whole.irac if parts else Irac(self)
        self.iras: Iras = parts.whole.iras if parts else Iras(self)
        self.children = Children(self)
        self.clones: Clones = self.children.clones
        self.openings: Openings = Openings(self)
        self.triggers: Triggers = Triggers(self)
        self.reauth = Reauthentication(self)
        self.revival = Revival(self)
        self.succession = Succession(self)
        self.leaving = Leaving(self)
        self.redirects: Redirects = Redirects(self)
        self.approach: Approach = Approach(self)

    @property
    def detects_nat(self) -> bool:
        """Whether UDP encapsulation is possible at all (`encapsulation=`)."""
        return self.connection.encapsulation is not Choice.NO

    @property
    def forces_encapsulation(self) -> bool:
        """Whether ESP shall be in UDP although there is no NAT."""
        demanded = self.connection.encapsulation is Choice.YES or self.connection.clones_encap
        return demanded or (self.detects_nat and self.host.resources.wants_encapsulation)

    def note(self, kind: Kind, text: str) -> None:
        """Tell what happens to this connection."""
        self.host.report(self.connection.name, kind, text)

    def proofs(self, path: Path) -> Proofs:
        """What proves who we are and who the peer is."""
        standing = self.endpoint.inquiries.standing
        return Proofs(self.connection, self.endpoint.credentials, standing, path.local, path.remote)

    # The instances of a connection for any number of peers

    def serving(self, peer: Identity, path: Path, request: Message) -> Tunnel:
        """Who serves a peer that IKE_AUTH authenticates: this one or an instance of it; raises AuthenticationFailed."""
        return self if self.connection.remote.address else self.instances.serving(peer, path.remote, request)

    def instance(self, connection: Connection) -> Tunnel:
        """A new instance of this one."""
        instance = self.endpoint.tunnels[connection.name] = Tunnel(self.endpoint, connection, self)
        return instance

    def part(self, connection: Connection) -> Tunnel:
        """A new part of this one."""
        part = self.endpoint.tunnels[connection.name] = Tunnel(self.endpoint, connection, self.template, self.parts)
        return part

    # The IKE SA of other connections

    def join(self, sa: IkeSa) -> None:
        """Use an IKE SA that is there."""
        self.ike, self.peer = sa, sa.tunnel.peer
        self.revival.done()
        if not self.is_part:
            self.irac.share(sa.tunnel.irac)
        self.note(Kind.PROGRESS, f"using IKE SA #{sa.serial} of {sa.tunnel.connection.name}")

    def for_traffic(self, sa: IkeSa, message: Message) -> Tunnel:
        """Whose Child SA a peer asks for, on this connection's IKE SA."""
        tunnel = sharing.for_traffic(sa, message)
        if tunnel.ike is None:
            tunnel.join(sa)
        return tunnel

    def claim(self, remote: Selectors) -> None:
        """See that no other peer of the template has this traffic; raises TsUnacceptable or FailedCpRequired."""
        self.iras.check()
        if self.template is not None:
            self.template.instances.claim(self, remote)

    def end_if_unused(self) -> None:
        """Give back what a peer had, once there is no IKE SA and none on its way."""
        if self.is_part:
            self.parts.end_if_unused(self)
            return
        if self.approach.initiation is not None or self.ike is not None:
            return
        if any(sa.state is not State.DEAD for sa in self.own):
            return
        self.irac.release()
        self.iras.release()
        if self.template is not None:
            self.host.timers.cancel(self)
            self.endpoint.tunnels.pop(self.connection.name, None)
            self.template.instances.end(self)

    # What users and packets ask for

    def up(self, now: float, *, ike_only: bool = False) -> None:
        """Bring the connection up, or only its IKE SA; raises LocalError when that cannot even be tried."""
        self.wanted = self.wanted or self.connection.auto is Auto.START
        self.ike_only = ike_only and not self.clones.children
        if ike_only and self.usable:
            self.note(Kind.IKE_UP, "the IKE SA is up already")
        elif self.usable and self.parts.stands(self):
            self.note(Kind.CHILD_UP, "the connection is up already")
        elif self.usable:
            self.wanted = True
            self.openings.open_fallback(now)
        elif not self.approach.connecting:
            self.approach.start(now)

    def down(self, now: float) -> None:
        """Take the connection down with all its clones; deleting the IKE SA deletes them all (section 1.4.1)."""
        self.wanted = False
        self.resumption.forget()
        self.host.timers.cancel(self)
        self.approach.stop(now)
        self.leaving.finish(now)
        if self.ike is None:
            self.note(Kind.IKE_DOWN, "the connection is down")
        elif self.leaving.at_once(self.ike, now):
            self.ike = None
            self.end_if_unused()
            self.note(Kind.IKE_DOWN, "the connection is down; its IKE SA serves others")
        else:
            take_down(self.ike, "taken down", now)

    def rekey(self, now: float, ike: bool, reauth: bool = False) -> int:
        """Rekey the IKE SA, authenticating anew or not, or every Child SA; how many that are.

        Raises LocalError when there is nothing to rekey, or to authenticate anew no way to the peer.
        """
        if self.ike is None or self.ike.state is not State.ESTABLISHED:
            raise LocalError(f"{self.connection.name} is not up: there is nothing to rekey")
        if reauth:
            self.reauth.start(now)
            return 1
        if ike:
            self.ike.enqueue(RekeyIke(self.ike), now)
            return 1
        all_of_them = (child for tunnel in self.parts.under(self) for child in tunnel.clones)
        children = [c for c in all_of_them if c.state is ChildState.INSTALLED and c.inbound_spi in self.ike.children]
        for child in children:
            self.ike.enqueue(RekeyChild(self.ike, child), now)
        return len(children)

    def acquire(self, cpu: int | None, now: float, packet: Packet | None = None) -> None:
        """A packet found no SA of its own: bring the connection up, or open a clone for its CPU."""
        if self.clones.fallback is None:
            if self.is_part or (packet is not None and not self.triggers.note(packet, now)):
                return
            if packet is not None and self.usable:
                self.openings.open_fallback(now)
            elif not (self.approach.connecting or self.revival.rests(now)):
                self.up(now)
        elif cpu is not None:
            self.openings.open(cpu, now)

    @property
    def is_part(self) -> bool:
        """Whether this is only for some of a connection's traffic."""
        return self.parts.whole is not self

    @property
    def usable(self) -> bool:
        """Whether there is an IKE SA to negotiate Child SAs on."""
        return self.ike is not None and self.ike.state is State.ESTABLISHED

    def sas(self, *states: State) -> list[IkeSa]:
        """The connection's IKE SAs in these states."""
        return [sa for sa in self.own if sa.state in states]

    # The IKE SA

    def settle(self, sa: IkeSa, now: float) -> None:
        """Let an IKE SA answer all that an established one does, and start its timers."""
        sa.authenticated(now)
        settle(sa, now)

    def forget(self, sa: IkeSa) -> None:
        """No message of this SA is answered any more."""
        self.endpoint.forget(sa)

    def roam(self, now: float) -> None:
        """This host has other addresses: what could not be reached before can perhaps be now."""
        if self.approach.initiation is not None and self.approach.initiation.path.local not in self.host.addresses:
            self.approach.initiation.fail(now, f"this host has {self.approach.initiation.path.local} no more")
        self.revival.roamed(now)
        self.children.trap()

    def half_open(self, sa: IkeSa, record: InitRecord, tunnels: tuple[Tunnel, ...]) -> AuthResponder:
        """Who answers IKE_AUTH for an SA that a peer asks for; `tunnels` are the connections it may mean."""
        return AuthResponder(sa, record, tunnels)

    # What the peer makes of Child SAs

    def resource(self, cpu: int | None) -> bytes | None:
        """The data of SA_RESOURCE_INFO: nothing for the fallback, else a number that reveals no CPU (RFC 9611, 6).

        None leaves the notify out: clones are off, or the peer knows nothing of them.
        """
        if self.connection.clones == 0:
            return None
        if cpu is None:
            return b""
        return self.clones.identifier() if self.clones.per_resource else None

    def first_child_failed(self, sa: IkeSa, now: float, reason: str) -> None:
        """The IKE SA is there, but the peer refuses the Child SA: without one the IKE SA is of no use."""
        self.note(Kind.FAILED, f"no Child SA: {reason}")
        if self.leaving.at_once(sa, now):
            self.ike = None
        else:
            sa.finish(DeleteIke(sa, "it has no Child SA"), now)
