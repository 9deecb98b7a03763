"""Requests and responses of the online certificate status protocol (RFC 6960), without the line between them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from ikeclone.crypto.der import SEQUENCE, elements, only
from ikeclone.errors import AuthenticationFailed
from ikeclone.pki.certificate import Certificate, extension, public_key
from ikeclone.pki.raw import UNREADABLE, raw_public_key

Response = ocsp.OCSPResponse
CertStatus = ocsp.OCSPCertStatus

_NAMING_HASHES = ("sha1", "sha256", "sha384", "sha512")
_WITHOUT_END = timedelta(hours=1)
_MOST_RESPONDERS = 4


def request(certificate: Certificate, issuer: Certificate) -> bytes:
    """What to ask a responder; SHA-1 names the issuer, as RFC 5019 section 2.1.1 has it."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # noqa: S303
    return builder.build().public_bytes(Encoding.DER)


def load_response(data: bytes) -> Response:
    """A responder's answer; raises AuthenticationFailed if it cannot be read or says that there is none."""
    try:
        response = ocsp.load_der_ocsp_response(data)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise AuthenticationFailed(f"the OCSP responder says {response.response_status.name}")
        _ = response.certificates, response.extensions, response.signature_hash_algorithm
        _ = [answer.hash_algorithm for answer in response.responses]
    except UNREADABLE as error:
        raise AuthenticationFailed("an OCSP response that cannot be read") from error
    return response


def status(
    response: Response,
    certificate: Certificate,
    issuer: Certificate,
    now: datetime,
    signer: Certificate | None = None,
) -> CertStatus:
    """What a response says of a certificate; UNKNOWN unless it is authentic, which `signer` can make it, and of now."""
    for answer in response.responses:
        if _is_about(answer, certificate, issuer) and _is_current(answer, now):
            trusted = signer is not None and _signed_by(response, signer)
            return answer.certificate_status if trusted or _authentic(response, issuer, now) else CertStatus.UNKNOWN
    return CertStatus.UNKNOWN


def _is_about(answer: ocsp.OCSPSingleResponse, certificate: Certificate, issuer: Certificate) -> bool:
    if answer.serial_number != certificate.serial_number or answer.hash_algorithm.name not in _NAMING_HASHES:
        return False
    (_, _), (_, bits) = elements(only(SEQUENCE, raw_public_key(public_key(issuer))))
    # The octets of a BIT STRING follow the number of bits that are unused.
    hashed = (hashlib.new(answer.hash_algorithm.name, octets) for octets in (issuer.subject.public_bytes(), bits[1:]))
    return [each.digest() for each in hashed] == [answer.issuer_name_hash, answer.issuer_key_hash]


def _is_current(answer: ocsp.OCSPSingleResponse, now: datetime) -> bool:
    """An answer that does not say when it ends stands for what was newest then (RFC 6960 section 4.2.2.1)."""
    end = answer.next_update_utc or answer.this_update_utc + _WITHOUT_END
    return answer.this_update_utc <= now <= end


def _authentic(response: Response, issuer: Certificate, now: datetime) -> bool:
    """Whether the issuer signed, or one whom it appointed as responder (RFC 6960 section 4.2.2.2)."""
    appointed = (each for each in response.certificates[:_MOST_RESPONDERS] if _is_responder(each, issuer, now))
    return any(_signed_by(response, each) for each in (issuer, *appointed))


def _is_responder(certificate: Certificate, issuer: Certificate, now: datetime) -> bool:
    try:
        purposes = extension(certificate, x509.ExtendedKeyUsage)
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    return valid and purposes is not None and ExtendedKeyUsageOID.OCSP_SIGNING in purposes


def _signed_by(response: Response, certificate: Certificate) -> bool:
    algorithm, signature, octets = response.signature_hash_algorithm, response.signature, response.tbs_response_bytes
    try:
        key = public_key(certificate)
        if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
            key.verify(signature, octets)
        elif algorithm is None or isinstance(algorithm, hashes.SHA1 | hashes.MD5):
            return False
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, octets, padding.PKCS1v15(), algorithm)
        else:
            key.verify(signature, octets, ec.ECDSA(algorithm))
    except (InvalidSignature, AuthenticationFailed, *UNREADABLE):
        return False
    return True
