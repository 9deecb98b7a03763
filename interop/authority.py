"""An authority for one scenario, with another one below it that issues the certificates of both hosts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Papers:
    """What a host has to show and to trust, each in PEM."""

    root: bytes
    middle: bytes
    certificate: bytes
    key: bytes
    public: bytes


class Authority:
    """`kind` is that of every key: rsa, ecdsa or ed25519."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._root_key, self._middle_key = new_key(kind), new_key(kind)
        self._root = _certificate("Root", self._root_key, "Root", self._root_key, _AUTHORITY)
        self._middle = _certificate("Middle", self._middle_key, "Root", self._root_key, _AUTHORITY)

    def issue(self, host: str, *more: x509.GeneralName) -> Papers:
        """A certificate for a host name, and more alternative names."""
        key, names = new_key(self._kind), x509.SubjectAlternativeName([x509.DNSName(host), *more])
        certificate = _certificate(host, key, "Middle", self._middle_key, names)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        root, middle, own = (each.public_bytes(Encoding.PEM) for each in (self._root, self._middle, certificate))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return Papers(root, middle, own, private, public)


def new_key(kind: str) -> Key:
    match kind:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "ecdsa":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return Ed25519PrivateKey.generate()


_AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)


def _certificate(name: str, key: Key, issuer: str, issuer_key: Key, extension: x509.ExtensionType) -> x509.Certificate:
    now = datetime.now(UTC)
    algorithm = None if isinstance(issuer_key, Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name(issuer))
    builder = builder.serial_number(x509.random_serial_number()).public_key(key.public_key())
    builder = builder.not_valid_before(now - DAY).not_valid_after(now + DAY)
    return builder.add_extension(extension, critical=True).sign(issuer_key, algorithm)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CA"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Lab"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
