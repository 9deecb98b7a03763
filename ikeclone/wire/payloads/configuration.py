"""Configuration payload (RFC 7296 section 3.15)."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar, Self

from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import CfgAttributeType, CfgType, PayloadType
from ikeclone.selectors import IPAddress
from ikeclone.wire.reader import Reader

_TYPE_MASK = 0x7FFF  # the top bit is reserved
_PREFIX = bytes([128])  # that follows an INTERNAL_IP6_ADDRESS
_ADDRESSES = {4: CfgAttributeType.INTERNAL_IP4_ADDRESS, 6: CfgAttributeType.INTERNAL_IP6_ADDRESS}
_SERVERS = {4: CfgAttributeType.INTERNAL_IP4_DNS, 6: CfgAttributeType.INTERNAL_IP6_DNS}
_SIZES = {
    CfgAttributeType.INTERNAL_IP4_ADDRESS: (4,),
    CfgAttributeType.INTERNAL_IP4_DNS: (4,),
    CfgAttributeType.INTERNAL_IP6_ADDRESS: (17, 16),
    CfgAttributeType.INTERNAL_IP6_DNS: (16,),
}


@dataclass(frozen=True, slots=True)
class CfgAttribute:
    """One attribute: a number of CfgAttributeType and its value, empty to ask for it."""

    type: int
    value: bytes = b""

    @classmethod
    def internal_address(cls, version: int, address: IPAddress | None = None) -> Self:
        """INTERNAL_IP4_ADDRESS or INTERNAL_IP6_ADDRESS; None asks for any."""
        prefix = _PREFIX if version == 6 else b""
        return cls(_ADDRESSES[version], b"" if address is None else address.packed + prefix)

    @classmethod
    def internal_dns(cls, version: int, address: IPAddress | None = None) -> Self:
        """INTERNAL_IP4_DNS or INTERNAL_IP6_DNS; None asks for some."""
        return cls(_SERVERS[version], b"" if address is None else address.packed)

    @classmethod
    def internal_domain(cls, name: str = "") -> Self:
        """INTERNAL_DNS_DOMAIN (RFC 8598); no name asks for some."""
        return cls(CfgAttributeType.INTERNAL_DNS_DOMAIN, name.encode("ascii"))

    def address(self) -> IPAddress | None:
        """The address of an attribute that has one, None if it asks for it; the length of a prefix is left out.

        Raises InvalidSyntax.
        """
        sizes = _SIZES[CfgAttributeType(self.type)]
        if not self.value:
            return None
        if len(self.value) not in sizes:
            raise InvalidSyntax(f"configuration attribute {self.type} with {len(self.value)} octets")
        return ip_address(self.value[: min(sizes)])

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

    def internal_addresses(self, version: int) -> list[IPAddress | None]:
        """What its attributes for addresses of a version of IP say; raises InvalidSyntax."""
        return [each.address() for each in self.attributes if each.type == _ADDRESSES[version]]

    def internal_dns(self) -> list[IPAddress]:
        """The name servers that it names; raises InvalidSyntax."""
        found = [each.address() for each in self.attributes if each.type in _SERVERS.values()]
        return [address for address in found if address is not None]

    def internal_domains(self) -> list[bytes]:
        """What its attributes for domains say, empty ones included."""
        return [each.value for each in self.attributes if each.type == CfgAttributeType.INTERNAL_DNS_DOMAIN]

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
