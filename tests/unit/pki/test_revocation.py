"""Revocation lists and OCSP responses: what counts, and what must not."""

from datetime import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as wire
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from ikeclone.errors import AuthenticationFailed
from ikeclone.pki import ocsp
from ikeclone.pki.revocation import Evidence, Sources, Status, check_path, load_crl, sources, status
from tests.unit.pki.authority import DAY, NOW, Holder, hash_for, key_usage, new_key, root

ROOT = root()
LEAF = ROOT.issue("CN=east")
OTHER = ROOT.issue("CN=west")
RESPONDER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])


def crl(
    issuer: Holder,
    *revoked: Holder,
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + DAY,
    critical: x509.ExtensionType | None = None,
    key: Holder | None = None,
) -> x509.CertificateRevocationList:
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(begins).next_update(ends)
    for holder in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(holder.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(NOW - DAY).build())
    if critical:
        builder = builder.add_extension(critical, critical=True)
    signer = (key or issuer).key
    return load_crl(builder.sign(signer, hash_for(signer)).public_bytes(Encoding.DER))


def answer(
    holder: Holder,
    issuer: Holder,
    verdict: wire.OCSPCertStatus = wire.OCSPCertStatus.GOOD,
    *,
    signer: Holder | None = None,
    begins: datetime = NOW - DAY,
    ends: datetime | None = NOW + DAY,
    algorithm: hashes.HashAlgorithm | None = None,
) -> ocsp.Response:
    revoked = verdict is wire.OCSPCertStatus.REVOKED
    signer = signer or issuer
    builder = wire.OCSPResponseBuilder().add_response(
        holder.certificate, issuer.certificate, algorithm or hashes.SHA256(), verdict, begins, ends,
        NOW - DAY if revoked else None, None,
    ).responder_id(wire.OCSPResponderEncoding.HASH, signer.certificate)  # fmt: skip
    if signer is not issuer:
        builder = builder.certificates([signer.certificate])
    return ocsp.load_response(builder.sign(signer.key, hash_for(signer.key)).public_bytes(Encoding.DER))


def listed(*lists: x509.CertificateRevocationList, holder: Holder = LEAF, issuer: Holder = ROOT) -> Status:
    return status(holder.certificate, issuer.certificate, Evidence(lists=lists), NOW)


def answered(*responses: ocsp.Response, holder: Holder = LEAF, issuer: Holder = ROOT) -> Status:
    return status(holder.certificate, issuer.certificate, Evidence(responses=responses), NOW)


@pytest.mark.parametrize("kind", ["rsa", "p256", "bp256", "ed25519", "ed448"])
def test_lists(kind: str) -> None:
    issuer = root(key=new_key(kind))
    good, bad = issuer.issue("CN=good"), issuer.issue("CN=bad")
    revoked = crl(issuer, bad)
    assert listed(revoked, holder=good, issuer=issuer) is Status.GOOD
    assert listed(revoked, holder=bad, issuer=issuer) is Status.REVOKED


def test_without_evidence_nothing_is_known() -> None:
    assert listed() is Status.UNKNOWN


@pytest.mark.parametrize(
    "ignored",
    [
        crl(ROOT, LEAF, begins=NOW - 3 * DAY, ends=NOW - DAY),
        crl(ROOT, LEAF, begins=NOW + DAY, ends=NOW + 3 * DAY),
        crl(root("CN=Other"), LEAF),
        crl(ROOT, LEAF, key=root()),
        crl(ROOT, LEAF, critical=x509.DeltaCRLIndicator(1)),
        crl(ROOT, critical=x509.IssuingDistributionPoint(None, None, False, True, None, False, False)),
    ],
    ids=["expired", "early", "other issuer", "forged", "delta", "partial"],
)
def test_lists_that_do_not_count(ignored: x509.CertificateRevocationList) -> None:
    assert listed(ignored) is Status.UNKNOWN


def test_an_authority_that_must_not_sign_lists() -> None:
    usage = key_usage(certificates=True)
    issuer = ROOT.issue("CN=Sub", critical=[x509.BasicConstraints(ca=True, path_length=None), usage])
    leaf = issuer.issue("CN=east")
    assert listed(crl(issuer), holder=leaf, issuer=issuer) is Status.UNKNOWN


@pytest.mark.parametrize("kind", ["rsa", "p256", "bp256", "ed25519", "ed448"])
@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256()], ids=lambda each: each.name)  # noqa: S303
def test_responses(kind: str, algorithm: hashes.HashAlgorithm) -> None:
    issuer = root(key=new_key(kind))
    holder = issuer.issue("CN=east")
    for verdict, expected in (
        (wire.OCSPCertStatus.GOOD, Status.GOOD),
        (wire.OCSPCertStatus.REVOKED, Status.REVOKED),
        (wire.OCSPCertStatus.UNKNOWN, Status.UNKNOWN),
    ):
        assert answered(answer(holder, issuer, verdict, algorithm=algorithm), holder=holder, issuer=issuer) is expected


def test_an_appointed_responder() -> None:
    appointed = ROOT.issue("CN=Responder", RESPONDER)
    assert answered(answer(LEAF, ROOT, signer=appointed)) is Status.GOOD


def test_a_response_without_an_end_is_for_now() -> None:
    assert answered(answer(LEAF, ROOT, begins=NOW, ends=None)) is Status.GOOD
    assert answered(answer(LEAF, ROOT, begins=NOW - DAY, ends=None)) is Status.UNKNOWN


@pytest.mark.parametrize(
    "ignored",
    [
        answer(LEAF, ROOT, begins=NOW - 3 * DAY, ends=NOW - DAY),
        answer(LEAF, ROOT, begins=NOW + DAY, ends=NOW + 3 * DAY),
        answer(OTHER, ROOT),
        answer(LEAF, root()),
        answer(LEAF, ROOT, signer=root("CN=Responder", RESPONDER)),
        answer(LEAF, ROOT, signer=ROOT.issue("CN=Responder")),
        answer(LEAF, ROOT, signer=ROOT.issue("CN=R", RESPONDER, validity=(NOW - 3 * DAY, NOW - DAY))),
        answer(LEAF, ROOT, algorithm=hashes.SHA224()),
    ],
    ids=["expired", "early", "other", "other issuer", "stranger", "not appointed", "expired responder", "odd hash"],
)
def test_responses_that_do_not_count(ignored: ocsp.Response) -> None:
    assert answered(ignored) is Status.UNKNOWN


@pytest.mark.parametrize("theirs", ["rsa", "p256", "ed25519", "ed448"])
@pytest.mark.parametrize("ours", ["rsa", "p256", "ed25519"])
def test_a_signature_of_another_key_does_not_count(ours: str, theirs: str) -> None:
    issuer, forger = root(key=new_key(ours)), root(key=new_key(theirs))
    if issuer.key is forger.key:
        forger = root(key=new_key("p384"))
    leaf = issuer.issue("CN=east")
    assert answered(answer(leaf, issuer, signer=forger), holder=leaf, issuer=issuer) is Status.UNKNOWN
    assert listed(crl(issuer, leaf, key=forger), holder=leaf, issuer=issuer) is Status.UNKNOWN


def test_sha1_signatures_do_not_count() -> None:
    """The algorithm's name is changed: nothing signs with SHA-1 any more, and it is refused before it is looked at."""
    sha256, sha1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
    issuer = root(key=new_key("rsa"))
    leaf = issuer.issue("CN=east")
    response = ocsp.load_response(answer(leaf, issuer).public_bytes(Encoding.DER).replace(sha256, sha1))
    revoked = load_crl(crl(issuer, leaf).public_bytes(Encoding.DER).replace(sha256, sha1))
    assert isinstance(response.signature_hash_algorithm, hashes.SHA1)
    assert isinstance(revoked.signature_hash_algorithm, hashes.SHA1)
    assert answered(response, holder=leaf, issuer=issuer) is Status.UNKNOWN
    assert listed(revoked, holder=leaf, issuer=issuer) is Status.UNKNOWN


def test_a_changed_response_does_not_count() -> None:
    response = answer(LEAF, ROOT)
    octets = bytearray(response.public_bytes(Encoding.DER))
    octets[-1] ^= 1
    assert answered(ocsp.load_response(bytes(octets))) is Status.UNKNOWN


def test_revoked_by_any_is_revoked() -> None:
    evidence = Evidence((crl(ROOT),), (answer(LEAF, ROOT, wire.OCSPCertStatus.REVOKED),))
    assert status(LEAF.certificate, ROOT.certificate, evidence, NOW) is Status.REVOKED


def test_paths() -> None:
    sub = ROOT.authority("CN=Sub")
    leaf = sub.issue("CN=east")
    path = leaf.certificate, sub.certificate, ROOT.certificate
    full = Evidence((crl(ROOT), crl(sub)))
    check_path(path, full, NOW, strict=True)
    check_path(path, Evidence(), NOW, strict=False)
    with pytest.raises(AuthenticationFailed, match="CN=east may have been revoked"):
        check_path(path, Evidence((crl(ROOT),)), NOW, strict=True)
    with pytest.raises(AuthenticationFailed, match="CN=Sub may have been revoked"):
        check_path(path, Evidence((crl(sub),)), NOW, strict=True)
    for strict in (True, False):
        with pytest.raises(AuthenticationFailed, match="CN=east was revoked"):
            check_path(path, Evidence((crl(sub, leaf), crl(ROOT))), NOW, strict=strict)
        with pytest.raises(AuthenticationFailed, match="CN=Sub was revoked"):
            check_path(path, Evidence((crl(sub), crl(ROOT, sub))), NOW, strict=strict)


def test_requests_name_the_certificate() -> None:
    request = wire.load_der_ocsp_request(ocsp.request(LEAF.certificate, ROOT.certificate))
    assert request.serial_number == LEAF.certificate.serial_number


def test_sources() -> None:
    place = x509.UniformResourceIdentifier
    full = [place("http://crl.example.org/1"), place("http://crl.example.org/2")]
    relative = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    points = x509.CRLDistributionPoints(
        [x509.DistributionPoint(full, None, None, None), x509.DistributionPoint(None, relative, None, None)]
    )
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place("http://ocsp.example.org")),
            x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place("http://ca.example.org")),
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.DNSName("ocsp.example.org")),
        ]
    )
    expected = Sources(("http://crl.example.org/1", "http://crl.example.org/2"), ("http://ocsp.example.org",))
    assert sources(ROOT.issue("CN=east", points, access).certificate) == expected
    assert sources(LEAF.certificate) == Sources()


@pytest.mark.parametrize("data", [b"", b"\x30\x00", crl(ROOT).public_bytes(Encoding.DER)[:-1]])
def test_lists_that_cannot_be_read(data: bytes) -> None:
    with pytest.raises(AuthenticationFailed, match="list that cannot be read"):
        load_crl(data)


@pytest.mark.parametrize("data", [b"", b"\x30\x00", answer(LEAF, ROOT).public_bytes(Encoding.DER)[:-1]])
def test_responses_that_cannot_be_read(data: bytes) -> None:
    with pytest.raises(AuthenticationFailed, match="response that cannot be read"):
        ocsp.load_response(data)


def test_a_responder_that_has_no_answer() -> None:
    refusal = wire.OCSPResponseBuilder.build_unsuccessful(wire.OCSPResponseStatus.TRY_LATER)
    with pytest.raises(AuthenticationFailed, match="the OCSP responder says TRY_LATER"):
        ocsp.load_response(refusal.public_bytes(Encoding.DER))
