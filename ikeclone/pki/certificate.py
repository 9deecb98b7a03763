"""Reading certificates: whatever is wrong with the octets shows here and nowhere later."""

from __future__ import annotations

import hashlib
import warnings
from typing import TypeVar

from cryptography import x509

from ikeclone.crypto.signature import PublicKey
from ikeclone.errors import AuthenticationFailed
from ikeclone.pki.dn import Name
from ikeclone.pki.raw import UNREADABLE, raw_public_key, signing

Certificate = x509.Certificate
Extension = TypeVar("Extension", bound=x509.ExtensionType)


def load_certificate(data: bytes) -> Certificate:
    """The certificate of a CERT payload with X509_SIGNATURE; raises AuthenticationFailed if any part is unreadable."""
    try:
        with warnings.catch_warnings(action="ignore"):  # it complains of what it lets pass, such as C=CAN
            certificate = x509.load_der_x509_certificate(data)
            # These are read when first asked for: ask here.
            _ = certificate.extensions, subject(certificate), issuer(certificate), certificate.signature_hash_algorithm
            positive = certificate.serial_number > 0
        public_key(certificate)
    except UNREADABLE as error:
        raise AuthenticationFailed("a certificate that cannot be read") from error
    if not positive:
        raise AuthenticationFailed("a certificate whose number is not positive (RFC 5280 section 4.1.2.2)")
    return certificate


def public_key(certificate: Certificate) -> PublicKey:
    """The key that a certificate binds; raises AuthenticationFailed if it is of no kind that signs."""
    return signing(certificate.public_key())


def key_hash(certificate: Certificate) -> bytes:
    """SHA-1 of the SubjectPublicKeyInfo, 20 octets: how CERTREQ names authorities (RFC 7296 section 3.7)."""
    return hashlib.sha1(raw_public_key(public_key(certificate)), usedforsecurity=False).digest()


def subject(certificate: Certificate) -> Name:
    """Whom the certificate is for."""
    return Name.from_der(certificate.subject.public_bytes())


def issuer(certificate: Certificate) -> Name:
    """Who signed it."""
    return Name.from_der(certificate.issuer.public_bytes())


def extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    """The extension of that kind, None if there is none."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
