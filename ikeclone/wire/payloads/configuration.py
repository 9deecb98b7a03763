"""Configuration payload (RFC 7296 section 3.15)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ikeclone.numbers import CfgType, PayloadType
from ikeclone.wire.reader import Reader

_TYPE_MASK = 0x7FFF  # the top bit is reserved


@dataclass(frozen=True, slots=True)
class CfgAttribute:
    """One attribute: a number of CfgAttributeType and its value, empty to ask for it."""

    type: int
    value: bytes = b""

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        kind = reader.number(2) & _TYPE_MASK
        return cls(kind, reader.take(reader.number(2)))

    def build(self) -> bytes:
        return self.type.to_bytes(2) + len(self.value).to_bytes(2) + self.value


@dataclass(frozen=True, slots=True)
class Configuration:
    """Configuration payload: attributes asked for or given."""

    TYPE: ClassVar[PayloadType] = PayloadType.CP
    type: CfgType
    attributes: tuple[CfgAttribute, ...] = ()

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        kind = CfgType(reader.number(1))
        reader.take(3)
        attributes = []
        while len(reader):
            attributes.append(CfgAttribute.parse(reader))
        return cls(kind, tuple(attributes))

    def build(self) -> bytes:
        return bytes([self.type, 0, 0, 0]) + b"".join(attribute.build() for attribute in self.attributes)
