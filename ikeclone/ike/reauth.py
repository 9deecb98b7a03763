"""Reauthentication: a new IKE SA, with new proofs of who both are, before the old one goes (RFC 7296 section 2.8.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.errors import LocalError, PeerError
from ikeclone.ike import sharing
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import ChildState
from ikeclone.ike.established import rekey_after
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.informational import DeleteIke, Liveness
from ikeclone.ike.sa import IkeSa, State
from ikeclone.numbers import NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Notify

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel

# Seconds that a peer has for making its clones anew and for deleting the IKE SA that it has replaced, if it may not
# repeat its requests for longer than that.
PATIENCE = 30.0


class LetGo(Liveness):
    """Ask for a sign of life when all else on the new IKE SA is answered; then the former one is of no use."""

    alone = True

    def __init__(self, sa: IkeSa, former: IkeSa) -> None:
        super().__init__(sa)
        self._former = former

    def response(self, message: Message, now: float) -> None:
        _delete(self._former, now)

    def failed(self, error: PeerError, now: float) -> None:
        _delete(self._former, now)


class Reauthentication:
    """When a connection authenticates anew, and what becomes of its former IKE SA and that one's Child SAs."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel, self._timers = tunnel, tunnel.host.timers

    def start(self, now: float) -> None:
        """Make a new IKE SA beside the one there is, unless that is under way; raises LocalError as `ask`.

        One that several connections share is for its owner to make anew, for all of them.
        """
        sa = self._tunnel.ike
        if sa is not None and self._tunnel.usable and not sa.tunnel.initiating:
            sa.tunnel.note(Kind.PROGRESS, "authenticating anew")
            sa.tunnel.ask(now)

    def established(self, sa: IkeSa, now: float) -> None:
        """Both sides have just proven who they are: `reauth=yes` has the initiator do so again in time."""
        self._timers.cancel(self._tunnel, "reauth")
        if self._tunnel.connection.reauth and sa.initiator:
            self._within(self._tunnel.connection.timing.ike_lifetime, now)

    def inherit(self, sa: IkeSa, now: float) -> None:
        """An IKE SA that was another connection's is this one's now, and as old as it was."""
        if self._tunnel.connection.reauth and sa.initiator:
            self._within(max(0.0, self._tunnel.connection.timing.ike_lifetime - (now - sa.established)), now)

    def _within(self, lifetime: float, now: float) -> None:
        """Authenticate anew before the lifetime ends."""
        after = rekey_after(lifetime, self._tunnel.connection.timing, self._tunnel.host.fraction())
        due = min(now + after, self._timers.when(self._tunnel, "reauth") or now + after)
        self._timers.set(self._tunnel, "reauth", due, self._start)

    def _start(self, now: float) -> None:
        try:
            self.start(now)
        except LocalError as error:
            self.failed(now, str(error))

    def lifetime(self) -> Payloads:
        """How long the responder takes the initiator's proof for good (RFC 4478)."""
        if not self._tunnel.connection.reauth:
            return ()
        seconds = int(self._tunnel.connection.timing.ike_lifetime)
        return (Notify(NotifyType.AUTH_LIFETIME, seconds.to_bytes(4, "big")),)

    def heed(self, message: Message, now: float) -> None:
        """The peer may say how long it takes our proof for good."""
        notify = message.notify(NotifyType.AUTH_LIFETIME)
        if notify is not None and len(notify.data) == 4:
            self._within(float(int.from_bytes(notify.data, "big")), now)

    def failed(self, now: float, reason: str) -> None:
        """There is no new IKE SA: the one there is goes on, and if it must be replaced, we try again."""
        self._tunnel.note(Kind.FAILED, reason)
        if self._tunnel.connection.reauth and self._tunnel.wanted:
            self._timers.set(self._tunnel, "reauth", now + self._tunnel.revival.next_delay(), self._start)

    def take_over(self, new: IkeSa, now: float) -> None:
        """Our new IKE SA has its fallback: make the clones and what others have anew, then delete what it replaces."""
        older = self._tunnel.sas(State.ESTABLISHED)
        for former in [sa for sa in older if sa is not new and sa.established <= new.created]:
            own = (c for c in former.children.values() if c.tunnel is self._tunnel)
            cpus = sorted(c.cpu for c in own if c.cpu is not None)
            others = self._move_others(former, new, now)
            for cpu in cpus:
                self._tunnel.openings.open(cpu, now)
            for other in others:
                other.openings.open_fallback(now)
            new.enqueue(LetGo(new, former), now)
            for tunnel in (self._tunnel, *others):
                text = f"#{new.serial}: IKE SA authenticated anew, replaces #{former.serial}"
                tunnel.note(Kind.IKE_REKEYED, text)

    def make_room(self, former: IkeSa, new: IkeSa, now: float) -> None:
        """The peer's new IKE SA takes the place of a former one: it makes the Child SAs of all anew, or else we do."""
        for other in self._move_others(former, new, now):
            other.openings.replace_fallback(now, PATIENCE)

    def _move_others(self, former: IkeSa, new: IkeSa, now: float) -> list[Tunnel]:
        """Let the connections that share the former IKE SA share the new one. Their clones come back with traffic."""
        others = [tunnel for tunnel in sharing.users(former) if tunnel is not self._tunnel]
        self.give_way(former, now)
        for other in others:
            other.join(new)
        return [other for other in others if other.wanted or other.clones.children]

    def give_way(self, former: IkeSa, now: float) -> None:
        """Only keep what the former IKE SA has until the side that asked for the new one deletes it, or time is up."""
        former.requests.drop_waiting()
        former.retire(now)
        for child in former.children.values():
            if child.lasts:
                child.enter(ChildState.REKEYED)
        patience = max(PATIENCE, self._tunnel.connection.timing.retransmit_timeout)
        self._timers.set(former, "expire", now + patience, lambda at: _delete(former, at))

    def bequeath(self, former: IkeSa) -> None:
        """If the peer rekeyed a former IKE SA that ends, it has its Child SAs in the new one: so do we."""
        for heir in self._tunnel.sas(State.REKEYED):
            if heir.contested is former:
                heir.children.update(former.children)
                former.children.clear()


def _delete(former: IkeSa, now: float) -> None:
    if former.state in (State.ESTABLISHED, State.REKEYED):
        former.finish(DeleteIke(former, "replaced"), now)
