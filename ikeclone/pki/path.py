"""From a peer's certificate to a trust anchor: the path validation of RFC 5280 section 6, as far as IKE needs it.

The verifier of the `cryptography` package follows the Web's profile and so refuses EdDSA and Brainpool authorities;
hence this one. Certificate policies are not asked for, and whatever else is critical and not understood is refused.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from ikeclone.errors import AuthenticationFailed
from ikeclone.pki.certificate import Certificate, extension, public_key, subject
from ikeclone.pki.constraints import check_names
from ikeclone.pki.raw import UNREADABLE
from ikeclone.pki.store import Store

_LONGEST_PATH = 8
_MOST_SIGNATURES = 32
_LEAST_RSA_BITS = 2048
_LEAST_CURVE_BITS = 256
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.CERTIFICATE_POLICIES,
}
# RFC 4945 section 5.1.3.12, with those of TLS that authorities give to every host, and the older ones for IPsec.
_PURPOSES = {
    ExtendedKeyUsageOID.IPSEC_IKE,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    *(x509.ObjectIdentifier(f"1.3.6.1.5.5.7.3.{number}") for number in (5, 6, 7)),
}


def validate(
    store: Store, certificate: Certificate, sent: tuple[Certificate, ...], now: datetime
) -> tuple[Certificate, ...]:
    """The path from a peer's certificate to an anchor, the former first.

    `sent` is what else the peer sent, in any order; `now` has a time zone. Raises AuthenticationFailed with what
    stands in the way. A certificate that is an anchor itself is its own path.
    """
    _check_end_entity(certificate, now)
    if certificate in store.anchors:
        return (certificate,)
    search = _Search(store, sent, now)
    path = search.upwards((certificate,))
    if path is None:
        raise AuthenticationFailed(search.obstacle)
    return path


class _Search:
    """Looks for a path, depth first and anchors before others; the work that a peer can cause has a limit."""

    def __init__(self, store: Store, sent: tuple[Certificate, ...], now: datetime) -> None:
        self._anchors, self._now = store.anchors, now
        self._authorities = tuple(dict.fromkeys((*store.anchors, *store.intermediates, *sent)))
        self._signatures = _MOST_SIGNATURES
        self.obstacle = "no certificate"

    def upwards(self, path: tuple[Certificate, ...]) -> tuple[Certificate, ...] | None:
        """The path continued to an anchor, or None; `obstacle` says why."""
        known = [each for each in self._authorities if each.subject == path[-1].issuer and each not in path]
        if not known:
            self.obstacle = f"no authority is known that issued the certificate of {subject(path[-1])}"
        for authority in known:
            try:
                self._check(path, authority)
            except AuthenticationFailed as error:
                self.obstacle = str(error)
                continue
            longer = (*path, authority)
            found = longer if authority in self._anchors else self.upwards(longer)
            if found:
                return found
        return None

    def _check(self, path: tuple[Certificate, ...], authority: Certificate) -> None:
        if len(path) >= _LONGEST_PATH or not self._signatures:
            raise AuthenticationFailed("too many certificates on the way to a trusted one")
        self._signatures -= 1
        _check_authority(authority, path, self._now)
        _check_signature(path[-1], authority)


def _check_end_entity(certificate: Certificate, now: datetime) -> None:
    """The peer's own certificate: it must be for signing, and for IKE if it says for what (RFC 4945 section 5.1.3)."""
    _check_any(certificate, now)
    usage = extension(certificate, x509.KeyUsage)
    if usage and not (usage.digital_signature or usage.content_commitment):
        raise AuthenticationFailed(f"the certificate of {subject(certificate)} is not for signing")
    purposes = extension(certificate, x509.ExtendedKeyUsage)
    if purposes and not _PURPOSES & set(purposes):
        raise AuthenticationFailed(f"the certificate of {subject(certificate)} is not for IKE")


def _check_authority(authority: Certificate, path: tuple[Certificate, ...], now: datetime) -> None:
    _check_any(authority, now)
    name, constraints = subject(authority), extension(authority, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise AuthenticationFailed(f"{name} is no authority")
    usage = extension(authority, x509.KeyUsage)
    if usage and not usage.key_cert_sign:
        raise AuthenticationFailed(f"{name} must not sign certificates")
    between = sum(each.subject != each.issuer for each in path[1:])
    if constraints.path_length is not None and between > constraints.path_length:
        raise AuthenticationFailed(f"{name} must not be so far from the certificates it is an authority for")
    check_names(authority, path)


def _check_any(certificate: Certificate, now: datetime) -> None:
    name, key = subject(certificate), public_key(certificate)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        raise AuthenticationFailed(f"the certificate of {name} is valid from {start:%Y-%m-%d} to {end:%Y-%m-%d} only")
    weak_rsa = isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA_BITS
    weak_curve = isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < _LEAST_CURVE_BITS
    if weak_rsa or weak_curve:
        raise AuthenticationFailed(f"the key of {name} is too short")
    unknown = [
        each.oid.dotted_string for each in certificate.extensions if each.critical and each.oid not in _UNDERSTOOD
    ]
    if unknown:
        raise AuthenticationFailed(f"the certificate of {name} has critical extensions not understood: {unknown}")


def _check_signature(certificate: Certificate, authority: Certificate) -> None:
    name = subject(certificate)
    if isinstance(certificate.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        raise AuthenticationFailed(f"the certificate of {name} is signed with SHA-1 or MD5")
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, *UNREADABLE) as error:
        raise AuthenticationFailed(f"the certificate of {name} is not signed by {subject(authority)}") from error
