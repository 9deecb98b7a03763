"""The EAP peer: answers what the server asks (RFC 3748 section 4.2 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

from ikeclone.eap.method import PeerMethod
from ikeclone.eap.packet import Packet
from ikeclone.errors import AuthenticationFailed, InvalidSyntax
from ikeclone.numbers import EapCode, EapType

_NO_METHOD = b"\0"


class EapPeer:
    """One authentication of ours, as `identity`, with the method that the server chooses of those that we have."""

    def __init__(self, identity: bytes, methods: Sequence[PeerMethod]) -> None:
        self._identity, self._methods = identity, tuple(methods)
        self._chosen: PeerMethod | None = None

    @property
    def msk(self) -> bytes | None:
        """The key that the method made, once it has."""
        return None if self._chosen is None else self._chosen.msk

    def respond(self, data: bytes) -> bytes | None:
        """The response to a request, None after success.

        Raises AuthenticationFailed when the server lets us not in or does not prove itself, InvalidSyntax.
        """
        packet = Packet.parse(data)
        match packet.code:
            case EapCode.REQUEST:
                return packet.answer(*self._answer(packet)).build()
            case EapCode.SUCCESS if self.msk is not None:
                return None
            case EapCode.SUCCESS:
                raise AuthenticationFailed("the EAP server lets us in without having proven itself")
            case EapCode.FAILURE:
                raise AuthenticationFailed(self._chosen.refused if self._chosen else PeerMethod.refused)
            case _:
                raise InvalidSyntax("an EAP response from the server")

    def _answer(self, request: Packet) -> tuple[EapType, bytes]:
        """Type and data of the response."""
        match request.type:
            case EapType.IDENTITY if self._chosen is None:
                return EapType.IDENTITY, self._identity
            case EapType.NOTIFICATION:
                return EapType.NOTIFICATION, b""
            case EapType.NAK | None:
                raise InvalidSyntax("an EAP request of a type that is for responses")
        if self._chosen is None:
            self._chosen = next((method for method in self._methods if method.type is request.type), None)
            if self._chosen is None:
                return EapType.NAK, bytes(method.type for method in self._methods) or _NO_METHOD
        if request.type is not self._chosen.type:
            raise InvalidSyntax("an EAP request of another method in the middle of one")
        return self._chosen.type, self._chosen.respond(request.data)
