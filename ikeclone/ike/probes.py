"""The INFORMATIONAL exchanges of MOBIKE: which way works, which one is used, and whether the peer is there."""

from __future__ import annotations

from ikeclone.errors import InvalidSyntax, PeerError, UnacceptableAddresses, UnexpectedNatDetected
from ikeclone.ike.exchange import Exchange, Payloads, raise_refusal
from ikeclone.ike.sa import IkeSa
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Notify

COOKIE_SIZE = 32


class _Informational(Exchange):
    type = ExchangeType.INFORMATIONAL

    def __init__(self, sa: IkeSa) -> None:
        super().__init__(sa)
        assert sa.mobike is not None
        self._mobike = sa.mobike
        self._epoch = -1

    @property
    def _is_current(self) -> bool:
        """Whether the path is still the one that the request was made for."""
        return self._epoch == self._mobike.epoch

    def response(self, message: Message, now: float) -> None:
        return

    def failed(self, error: PeerError, now: float) -> None:
        return


class Probe(_Informational):
    """An empty request that goes out on every way; the response shows one that works (RFC 4555 section 3.10)."""

    def request(self, now: float) -> Payloads:
        return ()


class Tell(_Informational):
    """Our addresses beside the one that we use (RFC 4555 section 3.6)."""

    def request(self, now: float) -> Payloads:
        return (*self._mobike.addresses(), *self._mobike.prohibition())


class UpdateAddresses(_Informational):
    """The path that is used from now on (RFC 4555 section 3.5)."""

    def request(self, now: float) -> Payloads:
        self._epoch, self._path = self._mobike.epoch, self.sa.path
        return (Notify(NotifyType.UPDATE_SA_ADDRESSES), *self._mobike.detection(), *self._mobike.addresses())

    def response(self, message: Message, now: float) -> None:
        raise_refusal(message)
        if self._is_current:
            self._mobike.accepted(message, now)

    def failed(self, error: PeerError, now: float) -> None:
        if self._is_current and isinstance(error, UnacceptableAddresses | UnexpectedNatDetected):
            self._mobike.refused(self._path, str(error), now)


class ReturnRoutability(_Informational):
    """A cookie that only who receives at the peer's new address can return (RFC 4555 section 3.7)."""

    def request(self, now: float) -> Payloads | None:
        if not self._mobike.is_claimed:
            return None
        self._epoch = self._mobike.epoch
        self._cookie = self.sa.host.random(COOKIE_SIZE)
        return (Notify(NotifyType.COOKIE2, self._cookie),)

    def response(self, message: Message, now: float) -> None:
        returned = message.notify(NotifyType.COOKIE2)
        if returned is None or returned.data != self._cookie:
            raise InvalidSyntax("the peer does not return the cookie")
        if self._is_current:
            self._mobike.returned(now)

    def failed(self, error: PeerError, now: float) -> None:
        self.sa.lose(now, str(error))
