"""Paths to trust anchors: those that hold, and each single thing that can be wrong with one."""

from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, VerificationError
from cryptography.x509.verification import Store as WebStore

from ikeclone.errors import AuthenticationFailed
from ikeclone.pki.path import validate
from ikeclone.pki.store import Store
from tests.unit.pki.authority import AUTHORITY_USAGE, DAY, NOW, Holder, alternative, key_usage, new_key, root, x509_name

ROOT = root()
STORE = Store((ROOT.certificate,))
_SHA256_WITH_RSA = bytes.fromhex("2a864886f70d01010b")
_SHA1_WITH_RSA = bytes.fromhex("2a864886f70d010105")
IPSEC_TUNNEL = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6")


def refused(holder: Holder, reason: str, *sent: Holder, store: Store = STORE) -> None:
    with pytest.raises(AuthenticationFailed, match=reason):
        validate(store, holder.certificate, tuple(each.certificate for each in sent), NOW)


@pytest.mark.parametrize("authority", ["rsa", "p256", "p384", "bp256", "ed25519", "ed448"])
@pytest.mark.parametrize("host", ["rsa", "p256", "ed25519"])
def test_every_kind_of_key(authority: str, host: str) -> None:
    anchor = root(key=new_key(authority))
    leaf = anchor.issue("CN=east", key=new_key(host))
    path = validate(Store((anchor.certificate,)), leaf.certificate, (), NOW)
    assert path == (leaf.certificate, anchor.certificate)


def test_intermediates_come_from_the_store_or_the_peer_in_any_order() -> None:
    first = ROOT.authority("CN=First")
    second = first.authority("CN=Second")
    leaf = second.issue("CN=east")
    path = (leaf.certificate, second.certificate, first.certificate, ROOT.certificate)
    unrelated = root("CN=Unrelated").certificate
    assert validate(STORE, leaf.certificate, (first.certificate, unrelated, second.certificate), NOW) == path
    known = Store((ROOT.certificate,), (second.certificate, first.certificate))
    assert validate(known, leaf.certificate, (), NOW) == path
    refused(leaf, "no authority is known that issued the certificate of CN=Second", second)
    refused(leaf, "no authority is known that issued the certificate of CN=east")


def test_a_peer_cannot_bring_its_own_anchor() -> None:
    other = root("CN=Other")
    refused(other.issue("CN=east"), "no authority is known that issued the certificate of CN=Other", other)
    same_name = root()
    refused(same_name.issue("CN=east"), "not signed by C=CA, O=Test, CN=Root", same_name)


def test_a_path_is_found_past_authorities_of_the_same_name() -> None:
    """A renewed authority, with a new key, and an old one that is no longer valid."""
    old, new = root(), root()
    leaf = new.issue("CN=east")
    store = Store((old.certificate, ROOT.certificate, new.certificate))
    assert validate(store, leaf.certificate, (), NOW) == (leaf.certificate, new.certificate)


def test_cross_certified_authorities_do_not_go_round_in_circles() -> None:
    one, other = root("CN=One"), root("CN=Other")
    crossed = Holder(one.authority("CN=Other", key=other.key).certificate, other.key)
    back = Holder(other.authority("CN=One", key=one.key).certificate, one.key)
    leaf = crossed.issue("CN=east")
    refused(leaf, "no authority|too many", crossed, back)
    path = validate(Store((one.certificate,)), leaf.certificate, (back.certificate, crossed.certificate), NOW)
    assert path == (leaf.certificate, crossed.certificate, one.certificate)


def test_the_work_that_a_peer_can_cause_is_limited() -> None:
    crowd = [root("CN=Crowd", length=None) for _ in range(50)]
    lost = root("CN=Crowd").issue("CN=east")
    refused(lost, "too many certificates", *crowd)


def test_a_path_has_a_longest_length() -> None:
    chain = [ROOT]
    for number in range(8):
        chain.append(chain[-1].authority(f"CN=Level {number}"))
    leaf = chain[-1].issue("CN=east")
    refused(leaf, "too many certificates", *chain[1:])
    assert len(validate(STORE, chain[6].issue("CN=e").certificate, tuple(c.certificate for c in chain[1:7]), NOW)) == 8


def test_an_anchor_is_its_own_path_if_it_is_for_signing() -> None:
    refused(ROOT, "not for signing")
    pinned = root("CN=west").issue("CN=west")
    assert validate(Store((pinned.certificate,)), pinned.certificate, (), NOW) == (pinned.certificate,)


@pytest.mark.parametrize("begins", [NOW + DAY, NOW - 3 * DAY], ids=["future", "past"])
def test_time(begins: datetime) -> None:
    leaf = ROOT.issue("CN=east", validity=(begins, begins + DAY))
    refused(leaf, f"CN=east is valid from {begins:%Y-%m-%d} to {begins + DAY:%Y-%m-%d} only")
    assert validate(STORE, leaf.certificate, (), begins + timedelta(hours=1))


def test_expired_authorities() -> None:
    leaf = ROOT.issue("CN=east", validity=(NOW, NOW + 300 * DAY))
    with pytest.raises(AuthenticationFailed, match="CN=Root is valid from"):
        validate(STORE, leaf.certificate, (), NOW + 200 * DAY)


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        ((), "CN=Sub is no authority"),
        ((x509.BasicConstraints(ca=False, path_length=None),), "CN=Sub is no authority"),
        ((x509.BasicConstraints(ca=True, path_length=None), key_usage(lists=True)), "CN=Sub must not sign"),
        ((x509.BasicConstraints(ca=True, path_length=None), AUTHORITY_USAGE), None),
        ((x509.BasicConstraints(ca=True, path_length=None),), None),
    ],
)  # fmt: skip
def test_who_is_an_authority(extensions: tuple[x509.ExtensionType, ...], reason: str | None) -> None:
    sub = ROOT.issue("CN=Sub", *extensions)
    leaf = sub.issue("CN=east")
    if reason:
        refused(leaf, reason, sub)
    else:
        assert len(validate(STORE, leaf.certificate, (sub.certificate,), NOW)) == 3


def test_path_length() -> None:
    anchor = root("CN=Short", length=1)
    store = Store((anchor.certificate,))
    first = anchor.authority("CN=First")
    second = first.authority("CN=Second")
    assert validate(store, first.issue("CN=east").certificate, (first.certificate,), NOW)
    refused(second.issue("CN=east"), "CN=Short must not be so far", first, second, store=store)
    # A certificate that an authority issues to itself does not count (RFC 5280 section 6.1.4).
    again = first.authority("CN=First", key=new_key())
    assert validate(store, again.issue("CN=east").certificate, (first.certificate, again.certificate), NOW)


@pytest.mark.parametrize(
    ("extension", "reason"),
    [
        (key_usage(sign=True), None),
        (key_usage(), "not for signing"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.IPSEC_IKE]), None),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), None),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), None),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH]), None),
        (x509.ExtendedKeyUsage([IPSEC_TUNNEL]), None),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), "not for IKE"),
        (alternative(x509.RFC822Name("road@example.org")), None),
        (x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3.4"), None)]), None),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), "critical extensions not understood"),
        (x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None), "critical extensions"),
    ],
)  # fmt: skip
def test_what_an_end_entity_is_for(extension: x509.ExtensionType, reason: str | None) -> None:
    leaf = ROOT.issue("CN=east", critical=[extension])
    if reason:
        refused(leaf, reason)
    else:
        assert validate(STORE, leaf.certificate, (), NOW)


def test_what_is_not_critical_need_not_be_understood() -> None:
    leaf = ROOT.issue("CN=east", x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"))
    assert validate(STORE, leaf.certificate, (), NOW)


@pytest.mark.parametrize("kind", ["rsa1024", "p224"])
def test_short_keys_are_refused(kind: str) -> None:
    refused(ROOT.issue("CN=east", key=new_key(kind)), "the key of CN=east is too short")
    weak = root("CN=Weak", key=new_key(kind))
    refused(weak.issue("CN=east"), "the key of CN=Weak is too short", store=Store((weak.certificate,)))


def test_sha1_is_refused() -> None:
    key = new_key("rsa")
    assert isinstance(key, rsa.RSAPrivateKey)
    anchor = root(key=key)
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(anchor.certificate.subject)
    builder = builder.serial_number(1).public_key(key.public_key()).not_valid_before(NOW).not_valid_after(NOW + DAY)
    signed = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER).replace(_SHA256_WITH_RSA, _SHA1_WITH_RSA)
    leaf = Holder(x509.load_der_x509_certificate(signed), key)
    refused(leaf, "signed with SHA-1 or MD5", store=Store((anchor.certificate,)))


def test_a_changed_certificate_is_refused() -> None:
    leaf = ROOT.issue("CN=east")
    changed = x509.load_der_x509_certificate(leaf.certificate.public_bytes(Encoding.DER).replace(b"east", b"west"))
    refused(Holder(changed, leaf.key), "CN=west is not signed by C=CA, O=Test, CN=Root")


NETWORK = x509.IPAddress(ip_network("192.0.2.0/24"))


def constrained(permitted: list[x509.GeneralName] | None, excluded: list[x509.GeneralName] | None = None) -> Holder:
    return root("CN=Bounded", x509.NameConstraints(permitted, excluded))


@pytest.mark.parametrize(
    ("bounds", "inside", "outside"),
    [
        (x509.DNSName("example.org"), x509.DNSName("Gate.Example.org"), x509.DNSName("gate.badexample.org")),
        (x509.DNSName("example.org"), x509.DNSName("example.org"), x509.DNSName("example.com")),
        (x509.RFC822Name("example.org"), x509.RFC822Name("a@Example.org"), x509.RFC822Name("a@sub.example.org")),
        (x509.RFC822Name(".example.org"), x509.RFC822Name("a@sub.example.org"), x509.RFC822Name("a@example.org")),
        (x509.RFC822Name("a@example.org"), x509.RFC822Name("a@example.org"), x509.RFC822Name("b@example.org")),
        (NETWORK, x509.IPAddress(ip_address("192.0.2.7")), x509.IPAddress(ip_address("192.0.3.7"))),
        (NETWORK, x509.IPAddress(ip_address("192.0.2.7")), x509.IPAddress(ip_address("2001:db8::7"))),
        (x509.DirectoryName(x509_name("O=Test")), x509.DirectoryName(x509_name("O=test, CN=a")),
         x509.DirectoryName(x509_name("O=Best, CN=a"))),
        (x509.DirectoryName(x509_name("O=*")), x509.DirectoryName(x509_name("O=*, CN=a")),
         x509.DirectoryName(x509_name("O=Test, CN=a"))),
    ],
)  # fmt: skip
def test_name_constraints(bounds: x509.GeneralName, inside: x509.GeneralName, outside: x509.GeneralName) -> None:
    permits, excludes = constrained([bounds]), constrained(None, [bounds])
    for authority, good, bad in ((permits, inside, outside), (excludes, outside, inside)):
        store = Store((authority.certificate,))
        assert validate(store, authority.issue("", alternative(good)).certificate, (), NOW)
        refused(authority.issue("", alternative(good, bad)), "CN=Bounded must not certify", store=store)
        other_kind = authority.issue("", alternative(x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))))
        assert validate(store, other_kind.certificate, (), NOW)


def test_name_constraints_bind_the_subject() -> None:
    authority = constrained([x509.DirectoryName(x509_name("C=CA, O=Test"))])
    store = Store((authority.certificate,))
    assert validate(store, authority.issue("C=CA, O=Test, CN=east").certificate, (), NOW)
    refused(authority.issue("C=CA, CN=east"), "must not certify C=CA, CN=east", store=store)


def test_name_constraints_bind_mail_in_the_subject_without_alternative_names() -> None:
    authority = constrained([x509.RFC822Name("example.org")])
    store = Store((authority.certificate,))
    assert validate(store, authority.issue("E=a@example.org").certificate, (), NOW)
    refused(authority.issue("E=a@example.com"), "a@example.com", store=store)


def test_name_constraints_bind_everyone_below() -> None:
    authority = constrained([x509.DirectoryName(x509_name("O=Test"))])
    store = Store((authority.certificate,))
    sub, stray = authority.authority("O=Test, OU=Sub"), authority.authority("O=Stray")
    assert validate(store, sub.issue("O=Test, CN=east").certificate, (sub.certificate,), NOW)
    refused(sub.issue("O=Other, CN=east"), "must not certify O=Other, CN=east", sub, store=store)
    refused(stray.issue("O=Test, CN=east"), "must not certify O=Stray", stray, store=store)


def test_name_constraints_spare_an_authority_that_certifies_itself() -> None:
    """RFC 5280 section 6.1.3: a new key of the same name, within no bounds of its own, but not an end entity."""
    authority = constrained([x509.DirectoryName(x509_name("O=Test"))])
    store = Store((authority.certificate,))
    renewed = authority.authority("CN=Bounded", key=new_key())
    leaf = renewed.issue("O=Test, CN=east")
    assert len(validate(store, leaf.certificate, (renewed.certificate,), NOW)) == 3
    refused(authority.issue("CN=Bounded"), "must not certify CN=Bounded", store=store)


def test_name_constraints_of_a_kind_that_is_not_understood_are_kept_by_refusing_the_kind() -> None:
    place = x509.UniformResourceIdentifier("https://example.org")
    authority = constrained([place])
    store = Store((authority.certificate,))
    assert validate(store, authority.issue("CN=east").certificate, (), NOW)
    refused(authority.issue("CN=east", alternative(place)), "must not certify", store=store)


def web_accepts(store: Store, leaf: Holder, sent: list[Holder]) -> bool:
    """What the verifier of the cryptography package says, with its profile of the Web for authorities only."""
    policies = {"ca_policy": ExtensionPolicy.webpki_defaults_ca(), "ee_policy": ExtensionPolicy.permit_all()}
    builder = PolicyBuilder().store(WebStore(list(store.anchors))).time(NOW).extension_policies(**policies)
    try:
        builder.build_client_verifier().verify(leaf.certificate, [each.certificate for each in sent])
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize("kind", ["rsa", "p256", "p384"])
@pytest.mark.parametrize("fault", ["", "expired", "length", "not an authority", "usage", "other anchor", "names"])
def test_another_verifier_agrees(kind: str, fault: str) -> None:
    identifier = x509.SubjectKeyIdentifier(b"k" * 20)
    bounds = [x509.NameConstraints([x509.DNSName("example.com")], None)] if fault == "names" else []
    anchor = root("CN=Anchor", identifier, *bounds, key=new_key(kind), length=0 if fault == "length" else None)
    critical: list[x509.ExtensionType] = [x509.BasicConstraints(ca=fault != "not an authority", path_length=None)]
    critical.append(key_usage(lists=True) if fault == "usage" else AUTHORITY_USAGE)
    issued = x509.AuthorityKeyIdentifier(b"k" * 20, None, None)
    sub = anchor.issue("CN=Sub", identifier, issued, key=new_key(kind), critical=critical)
    validity = NOW - 2 * DAY, NOW + (-DAY if fault == "expired" else DAY)
    leaf = sub.issue("CN=east", issued, alternative(x509.DNSName("east.example.org")), validity=validity)
    store = Store((root("CN=Anchor").certificate if fault == "other anchor" else anchor.certificate,))
    assert web_accepts(store, leaf, [sub]) is (fault == "")
    if fault:
        refused(leaf, "CN=", sub, store=store)
    else:
        assert len(validate(store, leaf.certificate, (sub.certificate,), NOW)) == 3
