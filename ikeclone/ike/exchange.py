"""An exchange that we start, and the errors that a response can carry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from ikeclone import errors
from ikeclone.errors import InvalidKePayload, InvalidSyntax, PeerError
from ikeclone.numbers import ExchangeType, KeMethod, NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import KeyExchange, Notify, Payload

if TYPE_CHECKING:
    from ikeclone.ike.sa import IkeSa

Payloads = tuple[Payload, ...]


class Exchange(ABC):
    """A request of ours and what its response means. `sa` changes when the IKE SA is rekeyed before it starts."""

    type: ClassVar[ExchangeType]
    # Whether a rekey of the IKE SA has to wait for this exchange (RFC 7296 section 2.25.2).
    changes_children: bool = False
    # Whether no other request of ours may be on its way with it: it changes the IKE SA under them.
    alone: bool = False

    def __init__(self, sa: IkeSa) -> None:
        self.sa = sa

    @abstractmethod
    def request(self, now: float) -> Payloads | None:
        """The payloads to send, or None when there is nothing left to do."""

    @abstractmethod
    def response(self, message: Message, now: float) -> None:
        """Act on the response; a PeerError that it raises goes to `failed`."""

    @abstractmethod
    def failed(self, error: PeerError, now: float) -> None:
        """Clean up after a response that refuses or is unacceptable."""

    def dropped(self) -> None:
        """Clean up when the IKE SA ends before the response is there."""


class Refused(PeerError):
    """An error notify without a class of its own."""

    def __init__(self, notify: NotifyType, data: bytes = b"") -> None:
        self.notify = notify
        super().__init__(notify.name, data)


_ERRORS: dict[int, type[PeerError]] = {
    int(cls.notify): cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, PeerError) and cls is not PeerError
}


def raise_refusal(message: Message) -> None:
    """Raise the error that a response carries, if it carries one."""
    for notify in message.all(Notify):
        if notify.type.is_error:
            if known := _ERRORS.get(notify.type):
                raise known(f"the peer answers {notify.type.name}", notify.data)
            raise Refused(notify.type, notify.data)


def refusal(error: PeerError) -> Notify:
    """The notify that answers a request with this error."""
    return Notify(error.notify, error.data)


def wanted_method(error: PeerError) -> KeMethod | None:
    """The key exchange method that the peer asks for instead (RFC 7296 section 1.3), if that is what it answers."""
    return KeMethod(int.from_bytes(error.data, "big")) if isinstance(error, InvalidKePayload) else None


def public_value(message: Message, method: KeMethod) -> bytes:
    """The peer's part of an additional key exchange; raises InvalidSyntax if it is of another method than agreed on."""
    theirs = message.require(KeyExchange)
    if theirs.method != method:
        raise InvalidSyntax(f"a key exchange with {theirs.method.name} where {method.name} was agreed on")
    return theirs.data
