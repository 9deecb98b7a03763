"""EAP packets (RFC 3748 section 4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import EapCode, EapType
from ikeclone.wire.reader import Reader

_HEADER_SIZE = 4
_TYPED = (EapCode.REQUEST, EapCode.RESPONSE)


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet; a success or failure has neither type nor data."""

    code: EapCode
    identifier: int
    type: EapType | None = None
    data: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Raises InvalidSyntax."""
        reader = Reader(data)
        code, identifier = EapCode(reader.number(1)), reader.number(1)
        body = reader.sub(reader.number(2) - _HEADER_SIZE)
        reader.finish()
        if code in _TYPED:
            return cls(code, identifier, EapType(body.number(1)), body.rest())
        if code not in (EapCode.SUCCESS, EapCode.FAILURE):
            raise InvalidSyntax(f"an EAP packet with the code {code.name}")
        body.finish()
        return cls(code, identifier)

    def build(self) -> bytes:
        body = b"" if self.type is None else bytes([self.type]) + self.data
        return bytes([self.code, self.identifier]) + (_HEADER_SIZE + len(body)).to_bytes(2) + body

    def answer(self, kind: EapType, data: bytes) -> Self:
        """The response to this request."""
        return type(self)(EapCode.RESPONSE, self.identifier, kind, data)
