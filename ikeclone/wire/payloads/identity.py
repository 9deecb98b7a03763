"""Who the peers are and how they prove it (RFC 7296 sections 3.5 to 3.8 and 3.16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import AuthMethod, CertEncoding, IdType, PayloadType
from ikeclone.wire.reader import Reader

_EAP_HEADER_SIZE = 4


@dataclass(frozen=True, slots=True)
class _Identification:
    type: IdType
    data: bytes

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        kind = IdType(reader.number(1))
        reader.take(3)
        return cls(kind, reader.rest())

    def build(self) -> bytes:
        """The payload's body, which AUTH covers too (RFC 7296 section 2.15, RestOfInitIDPayload)."""
        return bytes([self.type, 0, 0, 0]) + self.data


@dataclass(frozen=True, slots=True)
class IdI(_Identification):
    """Identification - Initiator payload."""

    TYPE: ClassVar[PayloadType] = PayloadType.IDI


@dataclass(frozen=True, slots=True)
class IdR(_Identification):
    """Identification - Responder payload."""

    TYPE: ClassVar[PayloadType] = PayloadType.IDR


@dataclass(frozen=True, slots=True)
class _Encoded:
    encoding: CertEncoding
    data: bytes

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        return cls(CertEncoding(reader.number(1)), reader.rest())

    def build(self) -> bytes:
        return bytes([self.encoding]) + self.data


@dataclass(frozen=True, slots=True)
class Certificate(_Encoded):
    """Certificate payload."""

    TYPE: ClassVar[PayloadType] = PayloadType.CERT


@dataclass(frozen=True, slots=True)
class CertRequest(_Encoded):
    """Certificate Request payload; for X.509 the data are SHA-1 hashes of trust anchors' public keys."""

    TYPE: ClassVar[PayloadType] = PayloadType.CERTREQ


@dataclass(frozen=True, slots=True)
class Auth:
    """Authentication payload."""

    TYPE: ClassVar[PayloadType] = PayloadType.AUTH
    method: AuthMethod
    data: bytes

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        method = AuthMethod(reader.number(1))
        reader.take(3)
        return cls(method, reader.rest())

    def build(self) -> bytes:
        return bytes([self.method, 0, 0, 0]) + self.data


@dataclass(frozen=True, slots=True)
class Eap:
    """Extensible Authentication payload: one EAP message, from its code on (RFC 3748 section 4)."""

    TYPE: ClassVar[PayloadType] = PayloadType.EAP
    data: bytes

    @classmethod
    def parse(cls, reader: Reader) -> Self:
        data = reader.rest()
        if len(data) < _EAP_HEADER_SIZE or int.from_bytes(data[2:4]) != len(data):
            raise InvalidSyntax("an EAP message whose length is not the payload's")
        return cls(data)

    def build(self) -> bytes:
        return self.data
