"""Reauthentication: a new IKE SA, with new proofs of who both are, before the old one goes (RFC 7296 section 2.8.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ikeclone.errors import LocalError, PeerError
from ikeclone.ike import sharing
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import Child
from ikeclone.ike.established import rekey_after
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.informational import DeleteIke, Liveness
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Notify

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel

# Seconds that a peer has for making its clones anew; and for deleting the IKE SA that it has replaced, beside those
# for which it may repeat its requests, or after which it makes another one.
PATIENCE = 30.0


class Confirm(Liveness):
    """Ask for a sign of life when all else on an IKE SA is answered: the peer has it. Only then go on."""

    alone = True

    def __init__(self, sa: IkeSa, then: Callable[[float], None]) -> None:
        super().__init__(sa)
        self._then = then

    def response(self, message: Message, now: float) -> None:
        super().response(message, now)
        self._then(now)

    def failed(self, error: PeerError, now: float) -> None:
        self._then(now)


class Reauthentication:
    """When a connection authenticates anew, and what becomes of its former IKE SA and that one's Child SAs."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel, self._timers = tunnel, tunnel.host.timers

    def start(self, now: float) -> None:
        """Make a new IKE SA beside the one there is, unless that is under way; raises LocalError as `check_means`.

        One that several connections share is for its owner to make anew, for all of them. One that the peer asked for
        it may not know to be established yet; it must, or to it the new one would cross this one and not replace it.
        """
        sa = self._tunnel.ike
        if sa is None or not self._tunnel.usable or sa.tunnel.approach.initiating:
            return
        sa.tunnel.approach.check_means()
        if sa.initiator:
            sa.tunnel.reauth.replace(sa, now)
        else:
            sa.enqueue(Confirm(sa, lambda at: sa.tunnel.reauth.replace(sa, at)), now)

    def replace(self, sa: IkeSa, now: float) -> None:
        """Ask for an IKE SA that takes this one's place, unless that is done or under way."""
        tunnel = self._tunnel
        if tunnel.ike is not sa or not tunnel.usable or tunnel.approach.initiating:
            return
        tunnel.note(Kind.PROGRESS, "authenticating anew")
        try:
            tunnel.approach.ask(now)
        except LocalError as error:
            tunnel.note(Kind.FAILED, str(error))

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

    def failed(self, now: float, reason: str, *, unanswered: bool = False) -> None:
        """There is no new IKE SA: the one there is goes on, and if it must be replaced, we try again.

        It must as well if IKE_AUTH got no answer: the peer may have given one, and will end the former IKE SA.
        """
        self._tunnel.note(Kind.FAILED, reason)
        if unanswered or (self._tunnel.connection.reauth and self._tunnel.wanted):
            self._timers.set(self._tunnel, "reauth", now + self._tunnel.revival.next_delay(), self._start)

    def take_over(self, new: IkeSa, now: float) -> None:
        """Our new IKE SA has its fallback: make the clones and what others have anew, then delete what it replaces."""
        formers = [sa for sa in self._tunnel.sas(State.ESTABLISHED, State.REKEYED) if sa.precedes(new)]
        if self._tunnel.ike is not new or not formers:
            return
        for former in formers:
            if former.state is State.ESTABLISHED:
                self.make_room(former, new, now)
        for cpu in sorted({c.cpu for c in self._tunnel.clones if c.cpu is not None}):
            self._tunnel.openings.open(cpu, now)
        others = self._others(new)
        for other in others:
            other.openings.open_fallback(now)
        for former in formers:
            self._let_go(former, new, now + PATIENCE, now)
        for tunnel in (self._tunnel, *others):
            text = f"#{new.serial}: IKE SA authenticated anew, replaces #{formers[-1].serial}"
            tunnel.note(Kind.IKE_REKEYED, text)

    def make_room(self, former: IkeSa, new: IkeSa, now: float) -> None:
        """The peer's new IKE SA takes the place of a former one: it makes the Child SAs of all anew, or else we do."""
        users = sharing.users(former)
        self.give_way(former, now)
        self._join(users, new, now)

    def settle_for(self, kept: IkeSa, redundant: IkeSa, now: float) -> None:
        """Both sides asked at once: who asked for the redundant one deletes it, once the peer has the other.

        Until then it can still be used, as a peer may settle for it without regard to what we would have kept. Its
        clones and what others have there are made anew.
        """
        _give_way(c for c in redundant.children.values() if c.cpu is not None or c.tunnel is not self._tunnel)
        self._join(sharing.users(redundant), kept, now)
        # Of another gateway, to which we were redirected, the first one knows nothing (RFC 5685).
        if redundant.initiator or redundant.path.remote != kept.path.remote:
            self._let_go(redundant, kept, now + PATIENCE, now)

    def _join(self, others: list[Tunnel], new: IkeSa, now: float) -> None:
        """Let others share the new IKE SA: its initiator makes their Child SAs. Their clones come back with traffic."""
        for other in others:
            other.join(new)
            other.openings.replace_fallback(now, PATIENCE)

    def _others(self, sa: IkeSa) -> list[Tunnel]:
        """Those that share this IKE SA and need Child SAs on it."""
        others = [tunnel for tunnel in sharing.users(sa) if tunnel is not self._tunnel]
        return [other for other in others if other.wanted or other.clones.children]

    def _let_go(self, former: IkeSa, new: IkeSa, until: float, now: float) -> None:
        """Delete the former IKE SA once the peer has the new one with all that is on it, or time is up."""
        new = _latest(new)
        new.enqueue(Confirm(new, lambda at: self._end(former, new, until, at)), now)

    def _end(self, former: IkeSa, new: IkeSa, until: float, now: float) -> None:
        if now < until and _is_needed(former):
            due = now + self._tunnel.host.settings.activation_delay
            self._timers.set(former, "let go", due, lambda at: self._let_go(former, new, until, at))
        else:
            _delete(former, now)

    def give_way(self, former: IkeSa, now: float) -> None:
        """Only keep what the former IKE SA has until the side that asked for the new one deletes it, or time is up."""
        former.requests.drop_waiting()
        former.retire(now)
        _give_way(former.children.values())
        patience = PATIENCE + self._tunnel.connection.timing.retransmit_timeout
        self._timers.set(former, "expire", now + patience, lambda at: _delete(former, at))

    def bequeath(self, former: IkeSa, now: float) -> None:
        """The peer has rekeyed a former IKE SA and works with the new one, or ends it: its Child SAs are there."""
        for heir in self._tunnel.sas(State.ESTABLISHED, State.REKEYED):
            if heir.contested is former and former.children:
                self.pass_on(former, heir, now)

    def pass_on(self, former: IkeSa, heir: IkeSa, now: float) -> None:
        """A former IKE SA was rekeyed: what it keeps until it is deleted is in the new one now."""
        former.successor = heir
        heir.children.update(former.children)
        former.children.clear()
        if heir.state is State.ESTABLISHED:
            self.give_way(heir, now)


def _give_way(children: Iterable[Child]) -> None:
    for child in children:
        child.give_way()


def _is_needed(former: IkeSa) -> bool:
    """Whether it has the only Child SA of a connection that shall have another one, as far as the peer is known to."""
    sending = [child for child in former.children.values() if child.cpu is None and child.active]
    return any(not _has_another(child, former) for child in sending)


def _has_another(child: Child, former: IkeSa) -> bool:
    others = (c for c in child.tunnel.clones if c.cpu is None and c.lasts and c.inbound_spi not in former.children)
    return any(not child.tunnel.children.senders.awaits_proof_of(other) for other in others)


def _delete(former: IkeSa, now: float) -> None:
    """Delete it, or what it was rekeyed to meanwhile, unless the peer has settled for that."""
    former = _latest(former)
    if former.state in (State.ESTABLISHED, State.REKEYED) and former.tunnel.ike is not former:
        former.finish(DeleteIke(former, "replaced"), now)


def _latest(sa: IkeSa) -> IkeSa:
    """What an IKE SA was rekeyed to in the end."""
    return sa if sa.successor is None else _latest(sa.successor)
