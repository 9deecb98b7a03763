"""The EAP server: asks who the peer is, then has a method find out (RFC 3748 sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ikeclone.eap.method import ServerMethod
from ikeclone.eap.packet import Packet
from ikeclone.errors import AuthenticationFailed, InvalidSyntax
from ikeclone.numbers import EapCode, EapType


@dataclass(frozen=True, slots=True)
class Success:
    """The packet that lets the peer in, the name that it has proven, and the key that both have."""

    packet: bytes
    user: bytes
    method: EapType
    msk: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """The packet that does not let the peer in, and why."""

    packet: bytes
    reason: str


class EapServer:
    """One authentication of a peer, with the first of the methods or another one that the peer prefers."""

    def __init__(self, methods: Sequence[ServerMethod], identifier: int) -> None:
        self._methods = list(methods)
        self._identifier = identifier
        self._running: ServerMethod | None = None
        self._may_refuse = False

    def start(self) -> bytes:
        """The first request."""
        return self._request(EapType.IDENTITY, b"")

    def receive(self, data: bytes) -> bytes | Success | Failure:
        """The next request, or the end. Raises InvalidSyntax when the response is not one to the last request."""
        packet = Packet.parse(data)
        if (packet.code, packet.identifier) != (EapCode.RESPONSE, self._identifier):
            raise InvalidSyntax("an EAP packet that does not answer our request")
        try:
            return self._proceed(packet)
        except AuthenticationFailed as error:
            return Failure(Packet(EapCode.FAILURE, self._identifier).build(), str(error))

    def _proceed(self, response: Packet) -> bytes | Success:
        method = self._running
        if method is None and response.type is EapType.IDENTITY:
            return self._begin(self._methods)
        if method is not None and self._may_refuse and response.type is EapType.NAK:
            self._methods.remove(method)
            return self._begin([other for other in self._methods if other.type in response.data])
        if method is None or response.type is not method.type:
            raise InvalidSyntax("an EAP response of a type that was not asked for")
        self._may_refuse = False
        following = method.proceed(response.data)
        if following is not None:
            return self._request(method.type, following)
        if method.msk is None:
            raise AssertionError(f"{method.type.name} has ended without a key")
        return Success(Packet(EapCode.SUCCESS, self._identifier).build(), method.user, method.type, method.msk)

    def _begin(self, methods: Sequence[ServerMethod]) -> bytes:
        if not methods:
            raise AuthenticationFailed("the peer has none of the EAP methods that it may use")
        self._running, self._may_refuse = methods[0], True
        return self._request(methods[0].type, methods[0].start((self._identifier + 1) % 256))

    def _request(self, kind: EapType, data: bytes) -> bytes:
        self._identifier = (self._identifier + 1) % 256
        return Packet(EapCode.REQUEST, self._identifier, kind, data).build()
