"""IKE_INTERMEDIATE: additional key exchanges before IKE_AUTH, in both roles (RFC 9242, RFC 9370 section 2.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.crypto import kex
from ikeclone.crypto.keys import IkeKeys, intermediate_ike_keys
from ikeclone.errors import PeerError
from ikeclone.ike.exchange import Exchange, Payloads, public_value, raise_refusal
from ikeclone.ike.sa import Handler, IkeSa
from ikeclone.numbers import ExchangeType, KeMethod
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import KeyExchange

if TYPE_CHECKING:
    from ikeclone.ike.opening import InitRecord


class Intermediate(Exchange):
    """The initiator's next additional key exchange; `methods` are those still to be done, IKE_AUTH comes after them."""

    type = ExchangeType.IKE_INTERMEDIATE

    def __init__(self, sa: IkeSa, record: InitRecord, methods: tuple[KeMethod, ...]) -> None:
        super().__init__(sa)
        self._record, self._rest = record, methods[1:]
        self._pair = kex.generate(methods[0], sa.host.random)

    def request(self, now: float) -> Payloads:
        return (KeyExchange(self._pair.method, self._pair.public),)

    def response(self, message: Message, now: float) -> None:
        raise_refusal(message)
        theirs = public_value(message, self._pair.method)
        self.sa.change_keys(_next_keys(self.sa, self._record, self._pair.shared(theirs)))
        self.sa.tunnel.approach.proceed(self.sa, self._record, self._rest, now)

    def failed(self, error: PeerError, now: float) -> None:
        self.sa.close(now, str(error))


class IntermediateResponder:
    """The responder's additional key exchanges: as many as were negotiated, in their order, then `authenticate`."""

    def __init__(self, sa: IkeSa, record: InitRecord, authenticate: Handler) -> None:
        self._sa, self._record, self._authenticate = sa, record, authenticate
        self._rest = sa.suite.additional

    def handlers(self) -> dict[ExchangeType, Handler]:
        """The only request that is legal now."""
        if self._rest:
            return {ExchangeType.IKE_INTERMEDIATE: self._respond}
        return {ExchangeType.IKE_AUTH: self._authenticate}

    def _respond(self, message: Message, now: float) -> Payloads:
        method, *rest = self._rest
        public, shared = kex.encapsulate(method, public_value(message, method), self._sa.host.random)
        self._sa.incoming.change_keys_after_answer(_next_keys(self._sa, self._record, shared))
        self._rest = tuple(rest)
        self._sa.handlers = self.handlers()
        return (KeyExchange(method, public),)


def _next_keys(sa: IkeSa, record: InitRecord, shared: bytes) -> IkeKeys:
    return intermediate_ike_keys(sa.suite, sa.keys.sk_d, shared, record.nonce_i, record.nonce_r, sa.spi_i, sa.spi_r)
