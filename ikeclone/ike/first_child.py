"""The Child SA that IKE_AUTH sets up, in both roles (RFC 7296 section 1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.crypto.keys import child_keys
from ikeclone.errors import PeerError
from ikeclone.ike.actions import Kind, RemoveChild
from ikeclone.ike.child import Agreement
from ikeclone.ike.childless import OpenFirst
from ikeclone.ike.exchange import Payloads, raise_refusal, refusal
from ikeclone.ike.negotiation import Keyed, choose_proposal, make_answer, make_offer
from ikeclone.ike.sa import IkeSa
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Sa

if TYPE_CHECKING:
    from ikeclone.ike.opening import InitRecord


class FirstChild:
    """The initiator's offer of it, none if both do without."""

    def __init__(self, sa: IkeSa, record: InitRecord) -> None:
        self._sa, self._nonces = sa, (record.nonce_i, record.nonce_r)
        tunnel = sa.tunnel
        resource, self._terms = tunnel.resource(None), tunnel.triggers.terms(sa.path)
        offered = tunnel.irac.offering(self._terms.connection, sa.path)
        self._offer = None if record.childless else make_offer(sa, offered, None, resource, with_pfs=False)

    def payloads(self) -> Payloads:
        """What the request says of it, and of our address inside the tunnel."""
        offer = () if self._offer is None else self._offer.payloads()
        return self._sa.tunnel.irac.request(self._sa.path) + offer

    def take(self, message: Message, now: float) -> None:
        """What the response makes of it; without one it is asked for now, unless the IKE SA alone will do."""
        sa, tunnel = self._sa, self._sa.tunnel
        try:
            agreement = self._agreed(message)
            taker = tunnel if agreement is None else tunnel.parts.taking(sa, agreement)
        except PeerError as error:
            self.dropped()
            if tunnel.triggers.refused(self._terms, error, now):
                sa.enqueue(OpenFirst(sa, tunnel, None), now)
            else:
                tunnel.first_child_failed(sa, now, str(error))
            return
        if agreement is None:
            self._do_without(now)
            return
        ours, theirs = child_keys(sa.suite.prf, sa.keys.sk_d, agreement.suite, b"", *self._nonces)
        taker.clones.per_resource = agreement.per_resource
        child = taker.children.add(sa, Keyed(agreement, ours, theirs, self._nonces), now, cpu=None, opened_by_us=True)
        taker.children.senders.serve(child)
        tunnel.reauth.take_over(sa, now)
        tunnel.triggers.go_on(now)

    def _do_without(self, now: float) -> None:
        sa, tunnel = self._sa, self._sa.tunnel
        if tunnel.ike_only and not tunnel.clones.children:
            tunnel.reauth.take_over(sa, now)
        else:
            sa.enqueue(OpenFirst(sa, tunnel, None), now)

    def _agreed(self, message: Message) -> Agreement | None:
        raise_refusal(message)
        irac = self._sa.tunnel.irac
        irac.take(message)
        return None if self._offer is None else irac.narrow(self._offer.accept(self._sa, message)[0])

    def dropped(self) -> None:
        """It comes to nothing."""
        if self._offer is not None:
            self._sa.host.emit(RemoveChild(self._offer.spi))


def answer_first_child(sa: IkeSa, record: InitRecord, message: Message, now: float) -> Payloads:
    """The responder's answer; the IKE SA stands without it when it is refused (RFC 7296 section 1.2)."""
    tunnel = sa.tunnel
    try:
        if message.first(Sa) is None:
            if not tunnel.ike_only:
                # The peer opens it in a moment, or else we do if we want one.
                tunnel.openings.replace_fallback(now)
            return tunnel.iras.inform(message)
        configuration = tunnel.iras.answer(message)
        chosen = choose_proposal(sa, tunnel.connection, message, with_pfs=False)
        answer = make_answer(sa, tunnel.connection, message, chosen, None, tunnel.resource(None))
        tunnel = tunnel.parts.taking(sa, answer.agreement)
    except PeerError as error:
        tunnel.note(Kind.FAILED, f"no Child SA for the peer: {error}")
        return (refusal(error),)
    nonces = record.nonce_i, record.nonce_r
    theirs, ours = child_keys(sa.suite.prf, sa.keys.sk_d, answer.agreement.suite, b"", *nonces)
    tunnel.clones.per_resource = answer.agreement.per_resource
    keyed = Keyed(answer.agreement, ours, theirs, nonces)
    child = tunnel.children.add(sa, keyed, now, cpu=None, opened_by_us=False)
    if tunnel.clones.outbound(None) is None:
        tunnel.children.senders.serve(child)
    else:
        tunnel.children.senders.serve_later(sa, child, now)
    return configuration + answer.payloads
