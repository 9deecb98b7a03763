"""Authorities and the certificates they issue, with any mistake a test asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import AuthorityInformationAccessOID

from ikeclone.crypto.signature import PrivateKey
from ikeclone.pki.dn import Name

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
_SERIALS = count(1000)
_SECRETS = count(5)


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def new_key(kind: str = "p256") -> PrivateKey:
    """A key of its own each time, but for RSA, which takes too long to make."""
    curves: dict[str, ec.EllipticCurve] = {
        "p224": ec.SECP224R1(),
        "p256": ec.SECP256R1(),
        "p384": ec.SECP384R1(),
        "p521": ec.SECP521R1(),
        "bp256": ec.BrainpoolP256R1(),
    }
    secret = next(_SECRETS)
    match kind:
        case "rsa":
            return rsa_key()
        case "rsa1024":
            return rsa_key(1024)
        case "ed25519":
            return Ed25519PrivateKey.from_private_bytes(secret.to_bytes(32))
        case "ed448":
            return Ed448PrivateKey.from_private_bytes(secret.to_bytes(57))
        case _:
            return ec.derive_private_key(secret, curves[kind])


def hash_for(key: PrivateKey) -> hashes.SHA256 | None:
    return hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else None


def x509_name(text: str) -> x509.Name:
    attributes = [x509.NameAttribute(x509.ObjectIdentifier(each.oid), each.value)
                  for rdn in Name.parse(text).rdns for each in rdn]  # fmt: skip
    return x509.Name(attributes)


def key_usage(*, sign: bool = False, certificates: bool = False, lists: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign, content_commitment=False, key_encipherment=not sign, data_encipherment=False,
        key_agreement=False, key_cert_sign=certificates, crl_sign=lists, encipher_only=False, decipher_only=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Holder:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey

    def issue(
        self,
        name: str,
        *extensions: x509.ExtensionType,
        key: PrivateKey | None = None,
        critical: Sequence[x509.ExtensionType] = (),
        validity: tuple[datetime, datetime] = (NOW - DAY, NOW + 30 * DAY),
    ) -> Holder:
        """A certificate for a host, or whatever the extensions make of it."""
        key = key or new_key()
        subject = x509_name(name) if name else x509.Name([])
        return Holder(_sign(subject, key, self.certificate.subject, self.key, extensions, critical, validity), key)

    def authority(
        self, name: str, *extensions: x509.ExtensionType, key: PrivateKey | None = None, length: int | None = None
    ) -> Holder:
        """An authority below this one."""
        constraints = x509.BasicConstraints(ca=True, path_length=length)
        return self.issue(name, *extensions, key=key, critical=[constraints, AUTHORITY_USAGE])


AUTHORITY_USAGE = key_usage(certificates=True, lists=True)


def root(
    name: str = "C=CA, O=Test, CN=Root",
    *extensions: x509.ExtensionType,
    key: PrivateKey | None = None,
    length: int | None = None,
    validity: tuple[datetime, datetime] = (NOW - 100 * DAY, NOW + 100 * DAY),
) -> Holder:
    """A self-signed authority."""
    key = key or new_key()
    critical = [x509.BasicConstraints(ca=True, path_length=length), AUTHORITY_USAGE]
    return Holder(_sign(x509_name(name), key, x509_name(name), key, extensions, critical, validity), key)


def alternative(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(names)


def _sign(
    subject: x509.Name,
    key: PrivateKey,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    extensions: Sequence[x509.ExtensionType],
    critical: Sequence[x509.ExtensionType],
    validity: tuple[datetime, datetime],
) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).serial_number(next(_SERIALS))
    builder = builder.public_key(key.public_key()).not_valid_before(validity[0]).not_valid_after(validity[1])
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    for extension in critical:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(issuer_key, hash_for(issuer_key))


def points(*addresses: str) -> x509.CRLDistributionPoints:
    """Where a certificate says that the lists of its authority are."""
    names = [x509.UniformResourceIdentifier(address) for address in addresses]
    return x509.CRLDistributionPoints([x509.DistributionPoint(names, None, None, None)])


def responders(*addresses: str) -> x509.AuthorityInformationAccess:
    """Whom a certificate says to ask about it."""
    method = AuthorityInformationAccessOID.OCSP
    names = [x509.UniformResourceIdentifier(address) for address in addresses]
    return x509.AuthorityInformationAccess([x509.AccessDescription(method, name) for name in names])
