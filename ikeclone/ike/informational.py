"""INFORMATIONAL: deleting Child SAs and the IKE SA, and asking whether the peer is alive (RFC 7296 section 1.4)."""

from __future__ import annotations

from collections.abc import Sequence

from ikeclone.errors import PeerError
from ikeclone.ike.child import Child, ChildState
from ikeclone.ike.exchange import Exchange, Payloads
from ikeclone.ike.mobike import heed
from ikeclone.ike.replay_counters import synchronise
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.ike.tickets import give_again
from ikeclone.numbers import ExchangeType, NotifyType, ProtocolId
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Delete, Notify

MAX_EARLY_DELETES = 64


class Liveness(Exchange):
    """An empty request: any response shows that the peer is alive (RFC 7296 section 2.4)."""

    type = ExchangeType.INFORMATIONAL

    def request(self, now: float) -> Payloads:
        return self.sa.mobike.detection() if self.sa.mobike is not None else ()

    def response(self, message: Message, now: float) -> None:
        if self.sa.mobike is not None:
            self.sa.mobike.mapped(message)

    def failed(self, error: PeerError, now: float) -> None:
        return


class DeleteChildren(Exchange):
    """Delete Child SAs: we send on them no more, and receive until the peer has answered."""

    type = ExchangeType.INFORMATIONAL
    changes_children = True

    def __init__(self, sa: IkeSa, children: Sequence[Child]) -> None:
        super().__init__(sa)
        self._children = tuple(children)

    def request(self, now: float) -> Payloads | None:
        going = [c for c in self._children if c.state not in (ChildState.DELETING, ChildState.REMOVED)]
        for child in going:
            child.enter(ChildState.DELETING)
        for child in going:
            child.tunnel.children.senders.deactivate(child)
        spis = tuple(child.inbound_spi.to_bytes(4, "big") for child in going)
        return (Delete(ProtocolId.ESP, spis),) if spis else None

    def response(self, message: Message, now: float) -> None:
        self._remove(now)

    def failed(self, error: PeerError, now: float) -> None:
        self._remove(now)

    def _remove(self, now: float) -> None:
        for child in self._children:
            child.tunnel.children.remove(self.sa, child, now)


class Withdraw(Exchange):
    """Delete a Child SA that the peer has made of our offer and that we could not take."""

    type = ExchangeType.INFORMATIONAL

    def __init__(self, sa: IkeSa, inbound_spi: int) -> None:
        super().__init__(sa)
        self._spi = inbound_spi.to_bytes(4, "big")

    def request(self, now: float) -> Payloads:
        return (Delete(ProtocolId.ESP, (self._spi,)),)

    def response(self, message: Message, now: float) -> None:
        return

    def failed(self, error: PeerError, now: float) -> None:
        return


class DeleteIke(Exchange):
    """Delete the IKE SA, and with it every Child SA that it has; `notify` says why, if the peer should know."""

    type = ExchangeType.INFORMATIONAL
    alone = True

    def __init__(self, sa: IkeSa, reason: str, notify: NotifyType | None = None) -> None:
        super().__init__(sa)
        self._reason, self._notify = reason, notify

    def request(self, now: float) -> Payloads:
        for tunnel in self.sa.served:
            tunnel.children.senders.leave(self.sa.children.keys())
        self.sa.enter(State.DELETING, {ExchangeType.INFORMATIONAL: self.sa.handlers[ExchangeType.INFORMATIONAL]})
        why = (Notify(self._notify),) if self._notify is not None else ()
        return (*why, Delete(ProtocolId.IKE, ()))

    def response(self, message: Message, now: float) -> None:
        self._end(now)

    def failed(self, error: PeerError, now: float) -> None:
        self._end(now)

    def _end(self, now: float) -> None:
        self.sa.close(now, self._reason)


def respond_informational(sa: IkeSa, message: Message, now: float) -> Payloads:
    """Answer an INFORMATIONAL request: do the deletes, say nothing to what is only status."""
    deletes = message.all(Delete)
    sa.tunnel.reauth.heed(message, now)
    failure = message.notify(NotifyType.AUTHENTICATION_FAILED)
    if failure is not None or any(d.protocol is ProtocolId.IKE for d in deletes):
        reason = "the peer rejects our authentication" if failure is not None else "deleted by the peer"
        sa.close(now, reason, linger=True)
        return ()
    sa.tunnel.redirects.after_auth(sa, message, now)
    synchronise(sa, message, now)
    if deletes:
        sa.adopt(now)
    spis = [spi for d in deletes if d.protocol is ProtocolId.ESP for spi in d.spis]
    answers = (*heed(sa, message), *sa.tunnel.iras.inform(message), *give_again(sa, message, now))
    return (*answers, *_delete_children(sa, spis, now))


def _delete_children(sa: IkeSa, spis: Sequence[bytes], now: float) -> Payloads:
    """Remove what the peer deletes; our halves go into the response unless we are deleting them ourselves."""
    by_spi = {child.outbound_spi: child for child in sa.children.values()}
    numbers = dict.fromkeys(int.from_bytes(spi, "big") for spi in spis)
    going = [by_spi[spi] for spi in numbers if spi in by_spi]
    if sa.requests.changing_children:
        unknown = [spi for spi in numbers if spi not in by_spi]
        sa.early_deletes.update(unknown[: MAX_EARLY_DELETES - len(sa.early_deletes)])
    ours = tuple(c.inbound_spi.to_bytes(4, "big") for c in going if c.state is not ChildState.DELETING)
    for child in going:
        child.tunnel.children.remove(sa, child, now, by_peer=True)
    return (Delete(ProtocolId.ESP, ours),) if ours else ()


def take_down(sa: IkeSa, reason: str, now: float) -> None:
    """Delete an IKE SA, unless it is on its way out."""
    if sa.state is State.ESTABLISHED:
        sa.finish(DeleteIke(sa, reason), now)
