"""Public keys without certificates: RFC 7670 on the wire, `rsasigkey=` and `pubkey=` in ipsec.conf."""

from __future__ import annotations

from base64 import b64decode

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from ikeclone.crypto.der import SEQUENCE
from ikeclone.crypto.signature import PrivateKey, PublicKey
from ikeclone.errors import AuthenticationFailed

# What the `cryptography` package raises for octets that it cannot make sense of.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def signing(key: object) -> PublicKey:
    """The key as one that signs; raises AuthenticationFailed if it is of another kind."""
    if not isinstance(key, PublicKey):
        raise AuthenticationFailed(f"a key that does not sign: {type(key).__name__}")
    return key


def load_raw_public_key(data: bytes) -> PublicKey:
    """The key of a CERT payload with RAW_PUBLIC_KEY, a SubjectPublicKeyInfo (RFC 7670 section 3).

    Raises AuthenticationFailed if it cannot be read or is of no kind that signs.
    """
    try:
        return signing(load_der_public_key(data))
    except UNREADABLE as error:
        raise AuthenticationFailed("a raw public key that cannot be read") from error


def raw_public_key(key: PublicKey) -> bytes:
    """The SubjectPublicKeyInfo of a key, in DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def parse_public_key(text: str) -> PublicKey:
    """A key as a configuration writes it: PEM, or base64, after 0s or not, of a SubjectPublicKeyInfo or of RFC 3110.

    Raises ValueError if it is none of them.
    """
    text = text.strip()
    try:
        if text.startswith("-----"):
            return signing(load_pem_public_key(text.encode()))
        data = b64decode("".join(text.removeprefix("0s").split()), validate=True)
        return signing(load_der_public_key(data)) if data[:1] == bytes([SEQUENCE]) else _rfc_3110(data)
    except (AuthenticationFailed, *UNREADABLE) as error:
        raise ValueError("neither PEM nor base64 of a public key that signs") from error


def load_private_key(pem: bytes) -> PrivateKey:
    """An unencrypted private key in PEM; raises ValueError, without its text, if it is none that signs."""
    try:
        key = load_pem_private_key(pem, None)
    except UNREADABLE:
        raise ValueError("not an unencrypted private key in PEM") from None
    if not isinstance(key, PrivateKey):
        raise ValueError(f"a key that does not sign: {type(key).__name__}")
    return key


def _rfc_3110(data: bytes) -> PublicKey:
    """RFC 3110 section 2: the exponent's length in one octet, or in two after a zero; exponent; modulus."""
    size, start = int.from_bytes(data[:1]), 1
    if not size:
        size, start = int.from_bytes(data[1:3]), 3
    end = start + size
    return rsa.RSAPublicNumbers(int.from_bytes(data[start:end]), int.from_bytes(data[end:])).public_key()
