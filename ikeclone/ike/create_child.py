"""CREATE_CHILD_SA for a new Child SA: a fallback, or a clone for one CPU (RFC 7296 section 1.3.1, RFC 9611)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.errors import NoAdditionalSas, PeerError, TemporaryFailure, TsMaxQueue, TsUnacceptable
from ikeclone.ike.actions import RemoveChild
from ikeclone.ike.child import Agreement, Child
from ikeclone.ike.exchange import Exchange, Payloads, raise_refusal, wanted_method
from ikeclone.ike.informational import DeleteChildren, Withdraw
from ikeclone.ike.narrowing import Selectors, without_covered
from ikeclone.ike.negotiation import Keyed, Request, after, answer_after, respond, traffic_of
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.triggers import Terms
from ikeclone.numbers import ExchangeType, KeMethod, NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Nonce

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


class CreateChild(Exchange):
    """Open a clone for a CPU, or with None the fallback."""

    type = ExchangeType.CREATE_CHILD_SA
    changes_children = True

    def __init__(self, sa: IkeSa, tunnel: Tunnel, cpu: int | None, method: KeMethod | None = None) -> None:
        super().__init__(sa)
        self._tunnel, self.cpu, self._method = tunnel, cpu, method
        self._clones = tunnel.clones
        self._clones.queued.add(cpu)
        self._request: Request | None = None
        self._terms = Terms(tunnel.connection)
        # The Child SA that the peer asked for at the same time, and the nonce of its request.
        self.rival: tuple[Child, bytes] | None = None

    def request(self, now: float) -> Payloads | None:
        self._clones.queued.discard(self.cpu)
        if not self._is_of_use(now):
            return None
        tunnel, fallback = self._tunnel, self._clones.fallback
        if self.cpu is not None and fallback is not None:
            self._terms = Terms(fallback.terms)
        else:
            self._terms = tunnel.triggers.terms(self.sa.path)
        self._request = Request(self.sa, self._terms.connection, self.cpu, tunnel.resource(self.cpu), self._method)
        self._clones.asked.add(self.cpu)
        if self.cpu is None:
            tunnel.openings.asking = self
        return self._request.payloads()

    def _has_answer(self) -> None:
        if self.cpu is not None:
            self._clones.asked.discard(self.cpu)
        elif self._tunnel.openings.asking is self:
            self._clones.asked.discard(None)
            self._tunnel.openings.asking = None

    def crosses(self, sa: IkeSa, local: Selectors, remote: Selectors) -> bool:
        """Whether this asks for just what the peer asks for on an IKE SA."""
        assert self._request is not None
        offer = self._request.offer
        ours = without_covered(offer.local), without_covered(offer.remote)
        return self.sa is sa and (set(ours[0]), set(ours[1])) == (set(local), set(remote))

    def goes_before(self, nonce: bytes) -> bool:
        """Of two requests that cross, the one with the higher nonce goes first (like RFC 7296 section 2.8.1)."""
        assert self._request is not None
        return self._request.nonce > nonce

    @property
    def _is_redundant(self) -> bool:
        """Whether the peer's request, which was answered before ours, has made the Child SA, and goes first."""
        return self.rival is not None and self.rival[0].lasts and not self.goes_before(self.rival[1])

    def _is_of_use(self, now: float) -> bool:
        """The peer may have made the SA, or refused others like it, while this request waited for its turn."""
        fallback = self._clones.fallback
        if self.cpu is None or fallback is None:
            return self.cpu is None and fallback is None
        # Of an IKE SA without a fallback the peer would take it for that.
        return fallback.inbound_spi in self.sa.children and self._clones.wants(self.cpu, now)

    def response(self, message: Message, now: float) -> None:
        assert self._request is not None
        raise_refusal(message)
        agreed = self._request.complete(self.sa, message)
        self._check_traffic(agreed.agreement)
        after(self, agreed, message, self._opened, now)

    def _check_traffic(self, agreement: Agreement) -> None:
        """See that the Child SA is of use; the peer shall not keep one that is not.

        A clone for less than the fallback is not (RFC 9611 section 3), nor is one without the packet that wants it, nor
        one too many.
        """
        parts = self._tunnel.parts
        try:
            taker = parts.serving(agreement.local, agreement.remote)
            if self.cpu is not None and taker is not self._tunnel:
                raise TsUnacceptable("the peer narrows the selectors of a clone")
            if not self._terms.are_met(agreement):
                raise TsUnacceptable("the peer leaves out the traffic that wants it")
            if taker is None:
                parts.check_room()
        except PeerError:
            self.sa.requests.queue.append(Withdraw(self.sa, agreement.inbound_spi))
            raise

    def _opened(self, keyed: Keyed, now: float) -> None:
        self._check_traffic(keyed.agreement)
        self._has_answer()
        taker = self._tunnel.parts.taking(self.sa, keyed.agreement)
        if not keyed.agreement.per_resource:
            taker.clones.per_resource = False
        elif self.cpu is None:
            taker.clones.per_resource = True
        else:
            taker.clones.opened(now)
        children = taker.children
        child = children.add(self.sa, keyed, now, cpu=self.cpu, opened_by_us=True)
        self._tunnel.triggers.go_on(now)
        if self._is_redundant and keyed.agreement.per_resource:
            # The peer may not know of the crossing, if it had our answer first. Others may not do without this SA.
            child.give_way()
            self.sa.enqueue(DeleteChildren(self.sa, (child,)), now)
            return
        children.senders.serve(child)
        if self._tunnel.ike is None:
            # It was taken down meanwhile, and the IKE SA left to others.
            self.sa.enqueue(DeleteChildren(self.sa, (child,)), now)

    def failed(self, error: PeerError, now: float) -> None:
        assert self._request is not None
        self.dropped()
        method = wanted_method(error)
        if method in self._request.methods and method != self._method:
            self.sa.enqueue(type(self)(self.sa, self._tunnel, self.cpu, method), now)
        elif self.cpu is None:
            self._refused(error, now)
        else:
            lasting = isinstance(error, TsMaxQueue | NoAdditionalSas)
            self._tunnel.openings.clone_refused(error, now, lasting=lasting)

    def _refused(self, error: PeerError, now: float) -> None:
        tunnel = self._tunnel
        if tunnel.triggers.refused(self._terms, error, now):
            self.sa.enqueue(type(self)(self.sa, tunnel, None, self._method), now)
        else:
            tunnel.openings.fallback_refused(error, now)
            if not isinstance(error, TemporaryFailure):
                tunnel.triggers.go_on(now)

    def dropped(self) -> None:
        self._clones.queued.discard(self.cpu)
        self._has_answer()
        if self._request is not None:
            self.sa.host.emit(RemoveChild(self._request.offer.spi))
        self._tunnel.children.leave_route()
        self._tunnel.parts.end_if_unused(self._tunnel)


def respond_create(sa: IkeSa, message: Message, now: float) -> Payloads:
    """Answer a request for a new Child SA: the fallback if there is none, else a clone on the CPU with the fewest.

    For other traffic than that of the Child SAs that there are, it is the fallback of a new part.
    """
    whole = sa.tunnel.for_traffic(sa, message)
    taker = whole.parts.serving(*traffic_of(whole.connection, sa.path, message))
    cpu = _cpu_for(taker or whole, message, alone=taker is None or not _has_fallback(sa, taker))
    if cpu is None and taker is not None:
        _check_crossing(sa, taker, message)
    agreed, payloads = respond(sa, whole.connection, message, cpu, (taker or whole).resource(cpu))
    return payloads + answer_after(sa, agreed, lambda keyed, at: _accept(sa, whole, keyed, cpu, at), now)


def _accept(sa: IkeSa, whole: Tunnel, keyed: Keyed, cpu: int | None, now: float) -> None:
    """Install it, unless there is no room for it any more after the additional key exchanges."""
    _check_room(whole.parts.serving(keyed.agreement.local, keyed.agreement.remote) or whole, cpu)
    tunnel = whole.parts.taking(sa, keyed.agreement)
    clones = tunnel.clones
    if cpu is None:
        # A regular SA beside a fallback that may have clones takes nothing from that one.
        clones.per_resource = keyed.agreement.per_resource or (clones.per_resource and clones.fallback is not None)
    alone = clones.outbound(None) is None
    child = tunnel.children.add(sa, keyed, now, cpu=cpu, opened_by_us=False)
    if cpu is None and sa.initiator and len(sa.children) == 1:
        # It has what an IKE SA needs that was set up without (RFC 6023).
        sa.tunnel.reauth.take_over(sa, now)
    if alone:
        tunnel.children.senders.serve(child)
    else:
        # The peer cannot receive on it before our response is there; what we have carries the packets until then.
        tunnel.children.senders.serve_later(sa, child, now)
    if cpu is not None:
        tunnel.openings.clone_accepted(now)
        return
    if (ours := _crossing(sa, tunnel, child.agreement.local, child.agreement.remote)) is not None:
        ours.rival = child, keyed.nonces[0]


def _crossing(sa: IkeSa, tunnel: Tunnel, local: Selectors, remote: Selectors) -> CreateChild | None:
    """Our own request for the regular SA that the peer asks for too."""
    ours = tunnel.openings.asking
    return ours if ours is not None and ours.crosses(sa, local, remote) else None


def _check_crossing(sa: IkeSa, tunnel: Tunnel, message: Message) -> None:
    """Both sides ask for a regular SA at once: one is enough, and who tries again later finds it there.

    Raises TemporaryFailure. Clones of one CPU may be two, as each side sends on its own (RFC 9611 section 3).
    """
    ours = _crossing(sa, tunnel, *traffic_of(tunnel.connection, sa.path, message))
    if ours is not None and ours.goes_before(message.require(Nonce).data):
        raise TemporaryFailure("both sides open this Child SA, and our request goes first")


def _has_fallback(sa: IkeSa, tunnel: Tunnel) -> bool:
    """Whether this very IKE SA has one: that of another one goes when this takes its place."""
    return any(c.tunnel is tunnel and c.cpu is None and c.lasts for c in sa.children.values())


def _cpu_for(tunnel: Tunnel, message: Message, *, alone: bool) -> int | None:
    """The CPU of the clone that is asked for, None for a regular SA and for one that is `alone` with its traffic.

    Raises PeerError if there is no room for it.
    """
    clones, cpus = tunnel.clones, tunnel.host.resources.cpus()
    wanted = message.notify(NotifyType.SA_RESOURCE_INFO) is not None and tunnel.connection.clones != 0
    cpu = None
    if wanted and not alone:
        if not cpus:
            raise TemporaryFailure("no CPU is ready")
        cpu = clones.least_loaded(cpus)
    _check_room(tunnel, cpu)
    return cpu


def _check_room(tunnel: Tunnel, cpu: int | None) -> None:
    clones, cpus = tunnel.clones, tunnel.host.resources.cpus()
    if cpu is None:
        tunnel.parts.check_room()
    elif cpu not in cpus:
        raise TemporaryFailure(f"CPU {cpu} has gone")
    elif not clones.may_accept(cpus):
        raise TsMaxQueue(f"{len(clones.clones)} clones are enough")
