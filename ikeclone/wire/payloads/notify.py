"""Notify and Delete payloads (RFC 7296 sections 3.10 and 3.11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import NotifyType, PayloadType, ProtocolId
from ikeclone.wire.reader import Reader

_SPI_SIZES = {ProtocolId.IKE: 0, ProtocolId.AH: 4, ProtocolId.ESP: 4}


@dataclass(frozen=True, slots=True)
class Notify:
    """Notify payload; protocol and SPI name the SA it is about, if that is not the IKE SA it comes over."""

    TYPE: ClassVar[PayloadType] = PayloadType.NOTIFY
    type: NotifyType
    data: bytes = b""
    protocol: ProtocolId = ProtocolId.NONE
    spi: bytes = b""

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        protocol, spi_size = ProtocolId(reader.number(1)), reader.number(1)
        kind = NotifyType(reader.number(2))
        spi = reader.take(spi_size)
        return cls(kind, reader.rest(), protocol, spi)

    def build(self) -> bytes:
        return bytes([self.protocol, len(self.spi)]) + self.type.to_bytes(2) + self.spi + self.data


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete payload: the sender's inbound SPIs, or none at all for the IKE SA it comes over."""

    TYPE: ClassVar[PayloadType] = PayloadType.DELETE
    protocol: ProtocolId
    spis: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        protocol, spi_size, count = ProtocolId(reader.number(1)), reader.number(1), reader.number(2)
        if spi_size != _SPI_SIZES.get(protocol) or count * spi_size != len(reader) or (count and not spi_size):
            raise InvalidSyntax(f"a delete of {count} SPIs of {spi_size} octets of {protocol.name}")
        return cls(protocol, tuple(reader.take(spi_size) for _ in range(count)))

    def build(self) -> bytes:
        head = bytes([self.protocol, _SPI_SIZES[self.protocol]])
        return head + len(self.spis).to_bytes(2) + b"".join(self.spis)
