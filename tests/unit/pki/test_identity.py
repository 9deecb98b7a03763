"""Identities: what ipsec.conf asks for, what a peer presents, and what its certificate vouches for."""

from ipaddress import ip_address

import pytest
from cryptography import x509

from ikeclone.connection import Identity
from ikeclone.errors import AuthenticationFailed
from ikeclone.numbers import IdType
from ikeclone.pki.dn import Name
from ikeclone.pki.identity import check_identity, identity_of, matches, vouches
from tests.unit.pki.authority import alternative, root

ROOT = root()
EAST = ROOT.issue(
    "C=CA, O=Libreswan, CN=east",
    alternative(
        x509.DNSName("East.example.org"),
        x509.DNSName("*.wild.example.org"),
        x509.RFC822Name("admin@example.org"),
        x509.IPAddress(ip_address("192.0.2.1")),
        x509.IPAddress(ip_address("2001:db8::1")),
    ),
    x509.SubjectKeyIdentifier(b"key id"),
).certificate
BARE = ROOT.issue("CN=east.example.org").certificate


def named(text: str) -> Identity:
    """An identity as ipsec.conf writes it, distinguished names included."""
    return Identity(IdType.DER_ASN1_DN, Name.parse(text).der()) if "=" in text else Identity.parse(text)


@pytest.mark.parametrize(
    ("wanted", "presented", "same"),
    [
        ("@east.example.org", "@EAST.example.org", True),
        ("@east.example.org", "@west.example.org", False),
        ("@east.example.org", "@@east.example.org", False),
        ("@*.example.org", "@east.example.org", False),
        ("admin@example.org", "Admin@Example.org", True),
        ("admin@example.org", "root@example.org", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8:0::1", True),
        ("@#6b6579", "@#6b6579", True),
        ("@#6b6579", "@#4b4559", False),
        ("C=CA, O=Libreswan, CN=*", "C=CA, O=libreswan, CN=east", True),
        ("C=CA, O=Libreswan, CN=*", "C=CA, O=Openswan, CN=east", False),
        ("C=CA, CN=east", "C=CA, CN=*", False),
        ("CN=east", "@east", False),
    ],
)
def test_matching(wanted: str, presented: str, same: bool) -> None:
    assert matches(named(wanted), named(presented)) is same


@pytest.mark.parametrize("data", [b"", b"\x30\x01", b"CN=east"])
def test_a_name_out_of_shape_matches_nothing(data: bytes) -> None:
    broken = Identity(IdType.DER_ASN1_DN, data)
    assert not matches(named("CN=*"), broken)
    assert not matches(broken, broken)
    assert not vouches(EAST, broken)


@pytest.mark.parametrize(
    ("identity", "found"),
    [
        ("@east.example.org", True),
        ("@EAST.EXAMPLE.ORG", True),
        ("@west.example.org", False),
        ("@a.wild.example.org", False),
        ("@*.wild.example.org", True),
        ("@east", False),
        ("admin@example.org", True),
        ("root@example.org", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8::1", True),
        ("C=CA, O=Libreswan, CN=east", True),
        ("c=ca, o=LIBRESWAN, cn=East", True),
        ("C=CA, O=Libreswan, CN=*", False),
        ("C=CA, O=Libreswan", False),
        ("@#" + b"key id".hex(), True),
        ("@#" + b"other".hex(), False),
    ],
)
def test_what_a_certificate_vouches_for(identity: str, found: bool) -> None:
    assert vouches(EAST, named(identity)) is found


@pytest.mark.parametrize("identity", ["@east.example.org", "admin@example.org", "192.0.2.1", "@#6b6579"])
def test_a_certificate_without_alternative_names_vouches_for_its_subject_only(identity: str) -> None:
    assert not vouches(BARE, named(identity))
    assert vouches(BARE, named("CN=east.example.org"))


@pytest.mark.parametrize(
    "identity",
    [
        Identity(IdType.NULL, b""),
        Identity(IdType.IPV4_ADDR, b"\1\2\3"),
        Identity(IdType.FQDN, b"\xff\xfe"),
        Identity(IdType.DER_ASN1_GN, b"\x82\x01a"),
        Identity(IdType(200), b"x"),
    ],
)
def test_other_identities_have_no_certificate(identity: Identity) -> None:
    assert not vouches(EAST, identity)


def test_fromcert_is_the_subject() -> None:
    assert identity_of(EAST) == Identity(IdType.DER_ASN1_DN, EAST.subject.public_bytes())
    check_identity(EAST, identity_of(EAST), None)
    check_identity(EAST, named("@east.example.org"), None)
    with pytest.raises(AuthenticationFailed, match="CN=east is not one for @west"):
        check_identity(EAST, named("@west"), None)


def test_a_peer_must_be_whom_we_want_and_show_it() -> None:
    check_identity(EAST, identity_of(EAST), named("C=CA, O=*, CN=east"))
    with pytest.raises(AuthenticationFailed, match=r"the peer is @east\.example\.org, not @west"):
        check_identity(EAST, named("@east.example.org"), named("@west.example.org"))
    with pytest.raises(AuthenticationFailed, match=r"is not one for @west\.example\.org"):
        check_identity(EAST, named("@west.example.org"), named("@west.example.org"))
