"""EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2, MS-CHAP of RFC 2759): name and password."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from enum import IntEnum

from ikeclone.crypto.mschap import CHALLENGE_SIZE, Exchange, nt_hash
from ikeclone.eap.method import PeerMethod, ServerMethod
from ikeclone.errors import AuthenticationFailed, InvalidSyntax
from ikeclone.numbers import EapType
from ikeclone.wire.reader import Reader

Random = Callable[[int], bytes]

_HEADER_SIZE = 4
_RESERVED = bytes(8)
_RESPONSE_SIZE = 24
_VALUE_SIZE = CHALLENGE_SIZE + len(_RESERVED) + _RESPONSE_SIZE + 1
_PROOF = re.compile(rb"S=([0-9A-Fa-f]{40})(?: |\Z)")
_ERROR = re.compile(rb"E=([0-9]{1,10})")
_REASONS = {646: "not at this time", 647: "the account is disabled", 648: "the password has expired",
            649: "no permission to dial in", 691: "the name or the password is wrong"}  # fmt: skip


class _Op(IntEnum):
    CHALLENGE = 1
    RESPONSE = 2
    SUCCESS = 3
    FAILURE = 4


def _packet(op: _Op, identifier: int, data: bytes) -> bytes:
    return bytes([op, identifier]) + (_HEADER_SIZE + len(data)).to_bytes(2) + data


def _read(data: bytes) -> tuple[int, int, Reader]:
    """Operation, identifier and body; raises InvalidSyntax."""
    reader = Reader(data)
    op, identifier = reader.number(1), reader.number(1)
    body = reader.sub(reader.number(2) - _HEADER_SIZE)
    reader.finish()
    return op, identifier, body


class MsChapPeer(PeerMethod):
    """We know a name and its password."""

    type = EapType.MSCHAPV2

    def __init__(self, user: bytes, password: str, random: Random) -> None:
        self._user, self._password, self._random = user, nt_hash(password), random
        self._exchange: Exchange | None = None

    def respond(self, data: bytes) -> bytes:
        op, identifier, body = _read(data)
        match op:
            case _Op.CHALLENGE if self._exchange is None:
                return _packet(_Op.RESPONSE, identifier, self._prove(body))
            case _Op.SUCCESS if self._exchange is not None:
                self._check(body.rest())
            case _Op.FAILURE:
                self.refused = _reason(body.rest())
            case _:
                raise InvalidSyntax(f"operation {op} of MS-CHAP out of turn")
        return bytes([op])

    def _prove(self, body: Reader) -> bytes:
        if body.number(1) != CHALLENGE_SIZE:
            raise InvalidSyntax("a challenge of MS-CHAP that has not 16 octets")
        self._exchange = Exchange(body.take(CHALLENGE_SIZE), self._random(CHALLENGE_SIZE), self._user, self._password)
        value = self._exchange.peer_challenge + _RESERVED + self._exchange.response() + b"\0"
        return bytes([len(value)]) + value + self._user

    def _check(self, message: bytes) -> None:
        assert self._exchange is not None
        proof = _PROOF.match(message)
        if proof is None or not hmac.compare_digest(bytes.fromhex(proof[1].decode()), self._exchange.authenticator()):
            raise AuthenticationFailed("the EAP server does not know our password")
        self.msk = self._exchange.msk()


def _reason(message: bytes) -> str:
    found = _ERROR.match(message)
    number = int(found[1]) if found else 0
    return f"the EAP server refuses us: {_REASONS.get(number, f'MS-CHAP error {number}')}"


class MsChapServer(ServerMethod):
    """We know the password of each name, or None of one that is nobody's; `name` is ours."""

    type = EapType.MSCHAPV2

    def __init__(self, password_of: Callable[[bytes], str | None], name: bytes, random: Random) -> None:
        self._password_of, self._name, self._random = password_of, name, random
        self._challenge = random(CHALLENGE_SIZE)
        self._awaited: tuple[_Op, ...] = (_Op.RESPONSE,)
        self._key = b""

    def start(self, identifier: int) -> bytes:
        return _packet(_Op.CHALLENGE, identifier, bytes([CHALLENGE_SIZE]) + self._challenge + self._name)

    def proceed(self, data: bytes) -> bytes | None:
        op = Reader(data).number(1)
        if op not in self._awaited:
            raise InvalidSyntax(f"operation {op} of MS-CHAP out of turn")
        if op == _Op.RESPONSE:
            return self._answer(*_read(data)[1:])
        if op == _Op.FAILURE:
            raise AuthenticationFailed("the peer does not know the password of the name that it gives")
        self.msk = self._key
        return None

    def _answer(self, identifier: int, body: Reader) -> bytes:
        exchange, response = self._read_response(body)
        if exchange is None or not hmac.compare_digest(exchange.response(), response):
            self._awaited = (_Op.FAILURE,)
            message = f"E=691 R=0 C={self._random(CHALLENGE_SIZE).hex().upper()} V=3 M=Authentication failed"
            return _packet(_Op.FAILURE, identifier, message.encode())
        self._awaited, self._key, self.user = (_Op.SUCCESS, _Op.FAILURE), exchange.msk(), exchange.user
        return _packet(_Op.SUCCESS, identifier, f"S={exchange.authenticator().hex().upper()} M=Welcome".encode())

    def _read_response(self, body: Reader) -> tuple[Exchange | None, bytes]:
        """What the peer should have said, None if it is nobody, and what it did say."""
        if body.number(1) != _VALUE_SIZE:
            raise InvalidSyntax(f"a response of MS-CHAP that has not {_VALUE_SIZE} octets")
        challenge, _, response, _ = (body.take(size) for size in (CHALLENGE_SIZE, len(_RESERVED), _RESPONSE_SIZE, 1))
        user = body.rest()
        password = self._password_of(user)
        return (None if password is None else Exchange(self._challenge, challenge, user, nt_hash(password))), response
