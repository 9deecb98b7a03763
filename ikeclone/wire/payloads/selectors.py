"""Traffic Selector payloads (RFC 7296 section 3.13)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar, Self

from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import PayloadType, TsType
from ikeclone.selectors import TrafficSelector
from ikeclone.wire.reader import Reader

_ADDRESS_SIZES = {TsType.IPV4_ADDR_RANGE: 4, TsType.IPV6_ADDR_RANGE: 16}


def _parse_selector(reader: Reader) -> TrafficSelector | None:
    """One selector, or None if its type is unknown."""
    kind, protocol = TsType(reader.number(1)), reader.number(1)
    body = reader.sub(reader.number(2) - 4)
    size = _ADDRESS_SIZES.get(kind)
    if size is None:
        return None
    first_port, last_port = body.number(2), body.number(2)
    first, last = ip_address(body.take(size)), ip_address(body.take(size))
    body.finish()
    if int(first) > int(last):
        raise InvalidSyntax(f"a traffic selector from {first} to {last}")
    return TrafficSelector(first, last, protocol, first_port, last_port)


def _build_selector(selector: TrafficSelector) -> bytes:
    kind = TsType.IPV4_ADDR_RANGE if selector.first.version == 4 else TsType.IPV6_ADDR_RANGE
    ports = selector.first_port.to_bytes(2) + selector.last_port.to_bytes(2)
    body = ports + selector.first.packed + selector.last.packed
    return bytes([kind, selector.protocol]) + (4 + len(body)).to_bytes(2) + body


@dataclass(frozen=True, slots=True)
class _TrafficSelectors:
    """`unknown` counts the selectors of types without a meaning here; they are left out, and never sent."""

    selectors: tuple[TrafficSelector, ...]
    unknown: int = 0

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        count = reader.number(1)
        reader.take(3)
        found = [_parse_selector(reader) for _ in range(count)]
        reader.finish()
        if not found:
            raise InvalidSyntax("a traffic selector payload without a selector")
        known = tuple(selector for selector in found if selector is not None)
        return cls(known, count - len(known))

    def build(self) -> bytes:
        return bytes([len(self.selectors), 0, 0, 0]) + b"".join(map(_build_selector, self.selectors))


@dataclass(frozen=True, slots=True)
class TsI(_TrafficSelectors):
    """Traffic Selector - Initiator payload."""

    TYPE: ClassVar[PayloadType] = PayloadType.TSI


@dataclass(frozen=True, slots=True)
class TsR(_TrafficSelectors):
    """Traffic Selector - Responder payload."""

    TYPE: ClassVar[PayloadType] = PayloadType.TSR
