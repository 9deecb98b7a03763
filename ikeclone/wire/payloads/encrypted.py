"""Encrypted and Encrypted Fragment payloads (RFC 7296 section 3.14, RFC 7383 section 2.5), still sealed.

Their generic header's next payload field names the first payload inside, so both are the last of a message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self

from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import PayloadType
from ikeclone.wire.reader import Reader


@dataclass(frozen=True, slots=True)
class Encrypted:
    """Encrypted payload: the type of the first payload inside, and IV, ciphertext and ICV as one."""

    TYPE: ClassVar[PayloadType] = PayloadType.SK
    first: PayloadType
    body: bytes = field(repr=False)

    @classmethod
    def parse(cls, first: PayloadType, reader: Reader) -> Self:
        return cls(first, reader.rest())

    def build(self) -> bytes:
        return self.body


@dataclass(frozen=True, slots=True)
class EncryptedFragment:
    """Encrypted Fragment payload, `number` of `total`, from 1 on; `first` counts in the first one only."""

    TYPE: ClassVar[PayloadType] = PayloadType.SKF
    first: PayloadType
    number: int
    total: int
    body: bytes = field(repr=False)

    @classmethod
    def parse(cls, first: PayloadType, reader: Reader) -> Self:
        number, total = reader.number(2), reader.number(2)
        if not 1 <= number <= total:
            raise InvalidSyntax(f"fragment {number} of {total}")
        return cls(first, number, total, reader.rest())

    def build(self) -> bytes:
        return self.number.to_bytes(2) + self.total.to_bytes(2) + self.body
