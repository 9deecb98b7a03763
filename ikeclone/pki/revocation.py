"""Whether certificates were revoked, by lists (RFC 5280 section 6.3) and OCSP responses at hand.

Nothing is fetched here: `sources` says where what is missing can be had, and what a peer sent in CERT payloads (RFC
7296 section 3.6, RFC 4806) serves as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID

from ikeclone.errors import AuthenticationFailed
from ikeclone.pki import ocsp
from ikeclone.pki.certificate import Certificate, extension, public_key, subject
from ikeclone.pki.raw import UNREADABLE


class Status(Enum):
    """What is known of a certificate. UNKNOWN: nothing current and authentic speaks of it."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


_OCSP = {
    ocsp.CertStatus.GOOD: Status.GOOD,
    ocsp.CertStatus.REVOKED: Status.REVOKED,
    ocsp.CertStatus.UNKNOWN: Status.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Lists and responses, old or forged ones included: each is checked before it counts."""

    lists: tuple[x509.CertificateRevocationList, ...] = ()
    responses: tuple[ocsp.Response, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a certificate says that lists and responses for it are."""

    lists: tuple[str, ...] = ()
    responders: tuple[str, ...] = ()


def load_crl(data: bytes) -> x509.CertificateRevocationList:
    """A list in DER; raises AuthenticationFailed if it cannot be read."""
    try:
        found = x509.load_der_x509_crl(data)
        _ = found.extensions, found.issuer, found.signature_hash_algorithm
    except UNREADABLE as error:
        raise AuthenticationFailed("a revocation list that cannot be read") from error
    return found


def sources(certificate: Certificate) -> Sources:
    """The http addresses in CRL distribution points and authority information access."""
    points = extension(certificate, x509.CRLDistributionPoints) or ()
    access = extension(certificate, x509.AuthorityInformationAccess) or ()
    lists = (name for point in points for name in point.full_name or ())
    responders = (each.access_location for each in access if each.access_method == AuthorityInformationAccessOID.OCSP)
    return Sources(_addresses(lists), _addresses(responders))


def _addresses(names: Iterable[x509.GeneralName]) -> tuple[str, ...]:
    return tuple(name.value for name in names if isinstance(name, x509.UniformResourceIdentifier))


def check_path(
    path: tuple[Certificate, ...],
    evidence: Evidence,
    now: datetime,
    *,
    strict: bool,
    signer: Certificate | None = None,
) -> None:
    """Check each certificate of a validated path, the anchor excepted; `signer` may sign OCSP responses of any.

    Raises AuthenticationFailed if one was revoked or, with `strict`, if of one nothing is known.
    """
    for certificate, issuer in pairwise(path):
        found = status(certificate, issuer, evidence, now, signer)
        if found is Status.REVOKED or (strict and found is Status.UNKNOWN):
            what = "was revoked" if found is Status.REVOKED else "may have been revoked, nothing current says otherwise"
            raise AuthenticationFailed(f"the certificate of {subject(certificate)} {what}")


def status(
    certificate: Certificate,
    issuer: Certificate,
    evidence: Evidence,
    now: datetime,
    signer: Certificate | None = None,
) -> Status:
    """What the evidence says at a time; revoked by any of it is revoked."""
    found = {_listed(certificate, issuer, each, now) for each in evidence.lists}
    found |= {_OCSP[ocsp.status(each, certificate, issuer, now, signer)] for each in evidence.responses}
    return next((each for each in (Status.REVOKED, Status.GOOD) if each in found), Status.UNKNOWN)


def _listed(
    certificate: Certificate, issuer: Certificate, revoked: x509.CertificateRevocationList, now: datetime
) -> Status:
    if not is_of(revoked, issuer, now):
        return Status.UNKNOWN
    entry = revoked.get_revoked_certificate_by_serial_number(certificate.serial_number)
    return Status.GOOD if entry is None else Status.REVOKED


def is_of(revoked: x509.CertificateRevocationList, issuer: Certificate, now: datetime) -> bool:
    """Whether it is the issuer's list of now."""
    return _current(revoked, now) and _authentic(revoked, issuer)


def _authentic(revoked: x509.CertificateRevocationList, issuer: Certificate) -> bool:
    """Whether the issuer signed the list, of all its certificates: critical extensions say that it is partial."""
    usage = extension(issuer, x509.KeyUsage)
    if revoked.issuer != issuer.subject or (usage and not usage.crl_sign):
        return False
    partial = any(each.critical for each in revoked.extensions)
    weak = isinstance(revoked.signature_hash_algorithm, hashes.SHA1 | hashes.MD5)
    return not partial and not weak and revoked.is_signature_valid(public_key(issuer))


def _current(revoked: x509.CertificateRevocationList, now: datetime) -> bool:
    """A list must say when it ends (RFC 5280 section 5.1.2.5)."""
    end = revoked.next_update_utc
    return end is not None and revoked.last_update_utc <= now <= end
