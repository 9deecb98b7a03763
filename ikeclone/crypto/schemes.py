"""Signature schemes and the AlgorithmIdentifiers that name them (RFC 7427 appendix A, RFC 8420 appendix A).

An identifier is looked up whole among the encodings that the RFCs allow, never taken apart: what a peer may send is
a closed list. Leaving out PSS with SHA-1 and with parameters of its own is RFC 8247 section 4.2's wish.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import product

from ikeclone.crypto.der import INTEGER, OID, SEQUENCE, tlv
from ikeclone.numbers import HashAlgorithm


class Kind(Enum):
    """What signs: a kind of key and, with RSA, a kind of padding."""

    RSA_PKCS1 = "RSA PKCS #1 v1.5"
    RSA_PSS = "RSASSA-PSS"
    ECDSA = "ECDSA"
    ED25519 = "Ed25519"
    ED448 = "Ed448"


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to sign. The salt of PSS is as long as the hash; EdDSA has the hash IDENTITY (RFC 8420 section 2)."""

    kind: Kind
    hash: HashAlgorithm

    def __str__(self) -> str:
        return self.kind.value if self.hash == HashAlgorithm.IDENTITY else f"{self.kind.value} with {self.hash.name}"


_NULL = b"\x05\x00"
_PSS, _MGF1 = "2a864886f70d01010a", "2a864886f70d010108"
_TRAILER = b"\xa3\x03\x02\x01\x01"  # the default, which DER leaves out and RFC 7427's own example does not
_SHA2 = {
    HashAlgorithm.SHA2_256: ("608648016503040201", 32),
    HashAlgorithm.SHA2_384: ("608648016503040202", 48),
    HashAlgorithm.SHA2_512: ("608648016503040203", 64),
}
_PKCS1 = {
    HashAlgorithm.SHA1: "2a864886f70d010105",
    HashAlgorithm.SHA2_256: "2a864886f70d01010b",
    HashAlgorithm.SHA2_384: "2a864886f70d01010c",
    HashAlgorithm.SHA2_512: "2a864886f70d01010d",
}
_ECDSA = {
    HashAlgorithm.SHA1: "2a8648ce3d0401",
    HashAlgorithm.SHA2_256: "2a8648ce3d040302",
    HashAlgorithm.SHA2_384: "2a8648ce3d040303",
    HashAlgorithm.SHA2_512: "2a8648ce3d040304",
}
_EDDSA = {Kind.ED25519: "2b6570", Kind.ED448: "2b6571"}


def _identifier(oid: str, *parameters: bytes) -> bytes:
    return tlv(SEQUENCE, tlv(OID, bytes.fromhex(oid)), *parameters)


def _pss(algorithm: HashAlgorithm) -> list[bytes]:
    """RFC 4055 section 3.1. A hash may be named with NULL or without parameters (section 2.1)."""
    oid, size = _SHA2[algorithm]
    salt = tlv(0xA2, tlv(INTEGER, bytes([size])))
    return [
        _identifier(
            _PSS,
            tlv(
                SEQUENCE,
                tlv(0xA0, _identifier(oid, hash_parameters)),
                tlv(0xA1, _identifier(_MGF1, _identifier(oid, mask_parameters))),
                salt,
                trailer,
            ),
        )
        for hash_parameters, mask_parameters, trailer in product((_NULL, b""), (_NULL, b""), (b"", _TRAILER))
    ]


# The encodings of each scheme, the one to send first.
_ENCODINGS: dict[Scheme, list[bytes]] = {
    **{Scheme(Kind.RSA_PSS, algorithm): _pss(algorithm) for algorithm in _SHA2},
    **{
        Scheme(Kind.RSA_PKCS1, algorithm): [_identifier(oid, _NULL), _identifier(oid)]
        for algorithm, oid in _PKCS1.items()
    },
    **{Scheme(Kind.ECDSA, algorithm): [_identifier(oid)] for algorithm, oid in _ECDSA.items()},
    **{Scheme(kind, HashAlgorithm.IDENTITY): [_identifier(oid)] for kind, oid in _EDDSA.items()},
}
_SCHEMES = {encoding: scheme for scheme, encodings in _ENCODINGS.items() for encoding in encodings}

SCHEMES = frozenset(_ENCODINGS)


def algorithm_identifier(scheme: Scheme) -> bytes:
    """The AlgorithmIdentifier to send for one of `SCHEMES`."""
    return _ENCODINGS[scheme][0]


def scheme_of(identifier: bytes) -> Scheme | None:
    """The scheme that an AlgorithmIdentifier names, None if it is not a known one."""
    return _SCHEMES.get(identifier)
