"""Security Association payload: proposals and their transforms (RFC 7296 section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import PayloadType, ProtocolId, TransformType, transform_id
from ikeclone.wire.reader import Reader

_LAST, _MORE_PROPOSALS, _MORE_TRANSFORMS = 0, 2, 3
_SHORT_FORM = 0x8000  # the attribute's value takes the place of its length
_KEY_LENGTH = _SHORT_FORM | 14
_MAX_SUBSTRUCTURES = 255  # proposals are numbered, transforms counted, in one octet


@dataclass(frozen=True, slots=True)
class Attribute:
    """A transform attribute unknown here; `type` includes the format bit (RFC 7296 section 3.3.5)."""

    type: int
    value: bytes

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        kind, length = reader.number(2), reader.take(2)
        return cls(kind, length if kind & _SHORT_FORM else reader.take(int.from_bytes(length)))

    def build(self) -> bytes:
        length = b"" if self.type & _SHORT_FORM else len(self.value).to_bytes(2)
        return self.type.to_bytes(2) + length + self.value


@dataclass(frozen=True, slots=True)
class Transform:
    """One algorithm (RFC 7296 section 3.3.2); `key_bits` only where the cipher has more than one key length.

    An attribute that is not understood makes the transform unacceptable (section 3.3.6): it is kept in
    `attributes`, and so the transform equals none that could be chosen.
    """

    type: TransformType
    id: int
    key_bits: int | None = None
    attributes: tuple[Attribute, ...] = ()

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        kind = TransformType(reader.number(1))
        reader.take(1)
        number = reader.number(2)
        key_bits, attributes = None, []
        while len(reader):
            attribute = Attribute.parse(reader)
            if attribute.type == _KEY_LENGTH and key_bits is None:
                key_bits = int.from_bytes(attribute.value)
            else:
                attributes.append(attribute)
        return cls(kind, transform_id(kind, number), key_bits, tuple(attributes))

    def build(self) -> bytes:
        key = b"" if self.key_bits is None else Attribute(_KEY_LENGTH, self.key_bits.to_bytes(2)).build()
        attributes = key + b"".join(attribute.build() for attribute in self.attributes)
        return bytes([self.type, 0]) + self.id.to_bytes(2) + attributes


@dataclass(frozen=True, slots=True)
class Proposal:
    """A choice of transforms for one protocol: any one of each type (RFC 7296 section 3.3.1)."""

    protocol: ProtocolId
    transforms: tuple[Transform, ...]
    spi: bytes = b""
    number: int = 1

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        number, protocol = reader.number(1), ProtocolId(reader.number(1))
        spi_size, count = reader.number(1), reader.number(1)
        spi = reader.take(spi_size)
        transforms = tuple(Transform.parse(body) for body in _substructures(reader, _MORE_TRANSFORMS))
        if len(transforms) != count:
            raise InvalidSyntax(f"a proposal of {count} transforms has {len(transforms)}")
        return cls(protocol, transforms, spi, number)

    def build(self) -> bytes:
        head = bytes([self.number, self.protocol, len(self.spi), len(self.transforms)])
        return head + self.spi + _chain([t.build() for t in self.transforms], _MORE_TRANSFORMS)

    def of_type(self, kind: TransformType) -> tuple[Transform, ...]:
        """The transforms of one type, in order of preference."""
        return tuple(transform for transform in self.transforms if transform.type == kind)


@dataclass(frozen=True, slots=True)
class Sa:
    """Security Association payload: at least one proposal, the preferred first."""

    TYPE: ClassVar[PayloadType] = PayloadType.SA
    proposals: tuple[Proposal, ...]

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        proposals = tuple(Proposal.parse(body) for body in _substructures(reader, _MORE_PROPOSALS))
        if not proposals:
            raise InvalidSyntax("an SA payload without a proposal")
        return cls(proposals)

    def build(self) -> bytes:
        return _chain([proposal.build() for proposal in self.proposals], _MORE_PROPOSALS)


def _substructures(reader: Reader, more: int) -> list[Reader]:
    """Bodies of a chain of proposals or transforms, whose markers must agree with where the chain ends."""
    bodies = []
    while len(reader):
        marker = reader.number(1)
        reader.take(1)
        bodies.append(reader.sub(reader.number(2) - 4))
        if marker != (more if len(reader) else _LAST) or len(bodies) > _MAX_SUBSTRUCTURES:
            raise InvalidSyntax("a chain of proposals or transforms that does not end where it says")
    return bodies


def _chain(bodies: list[bytes], more: int) -> bytes:
    markers = [more] * (len(bodies) - 1) + [_LAST]
    return b"".join(
        bytes([marker, 0]) + (4 + len(body)).to_bytes(2) + body for marker, body in zip(markers, bodies, strict=False)
    )
