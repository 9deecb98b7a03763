"""IKE messages: header, chain of payloads, and the two together (RFC 7296 sections 3.1 and 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ikeclone.errors import InvalidMajorVersion, InvalidSyntax, UnsupportedCriticalPayload
from ikeclone.numbers import ExchangeType, NotifyType, PayloadType
from ikeclone.wire.payloads import PARSERS, Encrypted, EncryptedFragment, Notify, Payload, Unknown
from ikeclone.wire.reader import Reader

HEADER_SIZE = 28
MAX_PAYLOADS = 256

_MAJOR_VERSION = 2
_INITIATOR, _RESPONSE = 0x08, 0x20
_CRITICAL = 0x80
_GENERIC_HEADER_SIZE = 4

P = TypeVar("P", bound=Payload)


@dataclass(frozen=True, slots=True)
class Header:
    """The IKE header. `initiator` (flag I): from the original initiator of the IKE SA; `response`: flag R."""

    initiator_spi: bytes
    responder_spi: bytes
    exchange: ExchangeType
    message_id: int
    initiator: bool
    response: bool

    def build(self, first: PayloadType, size: int) -> bytes:
        """The header's octets before payloads that start with type `first` and are `size` octets long."""
        flags = _INITIATOR * self.initiator | _RESPONSE * self.response
        kinds = bytes([first, _MAJOR_VERSION << 4, self.exchange, flags])
        numbers = self.message_id.to_bytes(4) + (HEADER_SIZE + size).to_bytes(4)
        return self.initiator_spi + self.responder_spi + kinds + numbers


@dataclass(frozen=True, slots=True)
class Message:
    """A header and its payloads, in the order of the wire, which means nothing (RFC 7296 section 2.5)."""

    header: Header
    payloads: tuple[Payload, ...]

    def all(self, kind: type[P]) -> tuple[P, ...]:
        """Every payload of one class."""
        return tuple(payload for payload in self.payloads if isinstance(payload, kind))

    def first(self, kind: type[P]) -> P | None:
        """The first payload of one class, if there is any."""
        return next(iter(self.all(kind)), None)

    def require(self, kind: type[P]) -> P:
        """The only payload of one class; raises InvalidSyntax if there is none or more than one."""
        found = self.all(kind)
        if len(found) != 1:
            raise InvalidSyntax(f"{len(found)} {kind.__name__} payloads in {self.header.exchange.name}, not one")
        return found[0]

    def notifies(self) -> tuple[Notify, ...]:
        """Every Notify payload."""
        return self.all(Notify)

    def notify(self, kind: NotifyType) -> Notify | None:
        """The first Notify payload of one type, if there is any."""
        return next((notify for notify in self.notifies() if notify.type == kind), None)


def parse_header(data: bytes) -> Header:
    """The header of a datagram. Raises InvalidSyntax if it is too short, InvalidMajorVersion if not IKEv2.

    The minor version and the reserved flags are ignored (RFC 7296 section 2.5).
    """
    return _read_header(Reader(data))[0]


def parse_message(data: bytes) -> Message:
    """The message in a datagram; an Encrypted or Encrypted Fragment payload stays sealed and is the last one.

    What a protected message authenticates beside its ciphertext is everything before the sealed body.
    Raises InvalidSyntax, InvalidMajorVersion or UnsupportedCriticalPayload.
    """
    reader = Reader(data)
    header, first, length = _read_header(reader)
    if length != len(data):
        raise InvalidSyntax(f"a message of {length} octets in a datagram of {len(data)}")
    return Message(header, tuple(_read_payloads(first, reader, sealed=True)))


def parse_payloads(first: PayloadType, data: bytes) -> tuple[Payload, ...]:
    """The payloads from inside an Encrypted payload. Raises InvalidSyntax or UnsupportedCriticalPayload."""
    return tuple(_read_payloads(first, Reader(data), sealed=False))


def build_payloads(payloads: Sequence[Payload]) -> tuple[PayloadType, bytes]:
    """The type of the first payload (NONE if there is none) and the octets of all."""
    kinds = [_type_of(payload) for payload in payloads]
    last = (
        payloads[-1].first if payloads and isinstance(payloads[-1], Encrypted | EncryptedFragment) else PayloadType.NONE
    )
    following = [*kinds[1:], last]
    return (kinds or [last])[0], b"".join(map(_build_payload, following, payloads))


def build_message(header: Header, payloads: Sequence[Payload]) -> bytes:
    """A whole message, as it goes into a datagram."""
    first, body = build_payloads(payloads)
    return header.build(first, len(body)) + body


def build_protected(
    header: Header, first: PayloadType, body_size: int, fragment: tuple[int, int] | None = None
) -> bytes:
    """What precedes an Encrypted payload's body of `body_size` octets, and is authenticated with it.

    With `fragment`, (number, total), it is an Encrypted Fragment payload; the caller appends the body.
    """
    numbers = b"" if fragment is None else fragment[0].to_bytes(2) + fragment[1].to_bytes(2)
    kind = PayloadType.SK if fragment is None else PayloadType.SKF
    size = _GENERIC_HEADER_SIZE + len(numbers) + body_size
    return header.build(kind, size) + bytes([first, 0]) + size.to_bytes(2) + numbers


def _read_header(reader: Reader) -> tuple[Header, PayloadType, int]:
    """The header, the type of the first payload and the message's length."""
    spis = reader.take(8), reader.take(8)
    first, version = PayloadType(reader.number(1)), reader.number(1)
    exchange, flags = ExchangeType(reader.number(1)), reader.number(1)
    message_id, length = reader.number(4), reader.number(4)
    if version >> 4 != _MAJOR_VERSION:
        raise InvalidMajorVersion(f"IKE version {version >> 4}.{version & 15}")
    header = Header(*spis, exchange, message_id, bool(flags & _INITIATOR), bool(flags & _RESPONSE))
    return header, first, length


def _read_payloads(kind: PayloadType, reader: Reader, *, sealed: bool) -> Iterable[Payload]:
    for _ in range(MAX_PAYLOADS + 1):
        if kind == PayloadType.NONE:
            return reader.finish()
        following, flags = PayloadType(reader.number(1)), reader.number(1)
        body = reader.sub(reader.number(2) - _GENERIC_HEADER_SIZE)
        if sealed and kind in (PayloadType.SK, PayloadType.SKF):
            yield _read_sealed(kind, following, body)
            return reader.finish()
        yield _read_payload(kind, bool(flags & _CRITICAL), body)
        kind = following
    raise InvalidSyntax(f"more than {MAX_PAYLOADS} payloads")


def _read_sealed(kind: PayloadType, first: PayloadType, body: Reader) -> Payload:
    return Encrypted.parse(first, body) if kind == PayloadType.SK else EncryptedFragment.parse(first, body)


def _read_payload(kind: PayloadType, critical: bool, body: Reader) -> Payload:
    """One payload; the critical bit counts only if its type is unknown (RFC 7296 section 2.5)."""
    parser = PARSERS.get(kind)
    if parser:
        payload = parser(body)
        body.finish()
        return payload
    if kind in (PayloadType.SK, PayloadType.SKF):
        raise InvalidSyntax("an Encrypted payload inside another")
    if critical:
        raise UnsupportedCriticalPayload(f"critical payload {kind.name}", bytes([kind]))
    return Unknown(kind, critical, body.rest())


def _type_of(payload: Payload) -> PayloadType:
    return payload.type if isinstance(payload, Unknown) else payload.TYPE


def _build_payload(following: PayloadType, payload: Payload) -> bytes:
    body = payload.build()
    critical = _CRITICAL if isinstance(payload, Unknown) and payload.critical else 0
    return bytes([following, critical]) + (_GENERIC_HEADER_SIZE + len(body)).to_bytes(2) + body
