"""What sets up an exchange of keys: Key Exchange, Nonce, Vendor ID (RFC 7296 sections 3.4, 3.9 and 3.12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import KeMethod, PayloadType
from ikeclone.wire.reader import Reader

_NONCE_SIZES = range(16, 257)


@dataclass(frozen=True, slots=True)
class KeyExchange:
    """Key Exchange payload: the method and its public value."""

    TYPE: ClassVar[PayloadType] = PayloadType.KE
    method: KeMethod
    data: bytes

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        method = KeMethod(reader.number(2))
        reader.take(2)
        return cls(method, reader.rest())

    def build(self) -> bytes:
        return self.method.to_bytes(2) + bytes(2) + self.data


@dataclass(frozen=True, slots=True)
class Nonce:
    """Nonce payload: 16 to 256 octets."""

    TYPE: ClassVar[PayloadType] = PayloadType.NONCE
    data: bytes

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        if len(reader) not in _NONCE_SIZES:
            raise InvalidSyntax(f"a nonce of {len(reader)} octets")
        return cls(reader.rest())

    def build(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class VendorId:
    """Vendor ID payload: opaque octets that announce an implementation."""

    TYPE: ClassVar[PayloadType] = PayloadType.VENDOR
    data: bytes

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        return cls(reader.rest())

    def build(self) -> bytes:
        return self.data
