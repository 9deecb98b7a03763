"""Distinguished names: the text of ipsec.conf, DER, and when two are the same."""

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from hypothesis import given
from hypothesis import strategies as st

from ikeclone.crypto.der import SEQUENCE, SET, decode_oid, elements, encode_oid, only, tlv
from ikeclone.pki.dn import Attribute, Name, is_name
from tests.unit.pki.authority import x509_name

CN, O = "2.5.4.3", "2.5.4.10"  # noqa: E741


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("C=CA, O=Libreswan, CN=*", "C=CA, O=Libreswan, CN=*"),
        ("c=CA,o=Libreswan,cn=east.example.org", "C=CA, O=Libreswan, CN=east.example.org"),
        ("/C=CH/O=Linux, strongSwan/CN=moon", "C=CH, O=Linux\\, strongSwan, CN=moon"),
        ("O=Acme\\, Inc., CN=a\\\\b", "O=Acme\\, Inc., CN=a\\\\b"),
        ("CN=a + OU=b, E=x@example.org", "CN=a+OU=b, E=x@example.org"),
        ("emailAddress=x@example.org, S=Bern", "E=x@example.org, ST=Bern"),
        ("1.2.3.4=any, CN=", "1.2.3.4=any, CN="),
        ("CN=a=b", "CN=a=b"),
    ],
)
def test_text(text: str, printed: str) -> None:
    name = Name.parse(text)
    assert str(name) == printed
    assert Name.parse(printed) == name
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "east", "CN=a,", "C=CA,,O=b", "FOO=bar", "CN=a, b", "CN=a+b", "=a", "3.1=x"])
def test_mistakes_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not TYPE=value"):
        Name.parse(text)


@pytest.mark.parametrize("text", ["@east", "user@host", "192.0.2.1", "@#abcd", "%fromcert", "foo=bar"])
def test_other_identities_are_no_names(text: str) -> None:
    assert not is_name(text)


def test_der_is_what_another_library_makes() -> None:
    text = "C=CA, O=Libreswan, E=a@example.org, DC=org, CN=a*b"
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "CA"),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Libreswan", _ASN1Type.PrintableString),
            x509.NameAttribute(x509.NameOID.EMAIL_ADDRESS, "a@example.org"),
            x509.NameAttribute(x509.NameOID.DOMAIN_COMPONENT, "org"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "a*b"),
        ]
    )
    assert Name.parse(text).der() == name.public_bytes()
    assert Name.from_der(name.public_bytes()) == Name.parse(text)


def test_der_of_long_names() -> None:
    text = "CN=" + "a" * 60 + ", O=" + "ü" * 64 + ", OU=" + "b" * 60
    name = Name.parse(text)
    assert name.der()[:2] == bytes([SEQUENCE, 0x82])
    assert Name.from_der(name.der()) == Name.from_der(x509_name(text).public_bytes()) == name


def test_every_kind_of_string_is_read() -> None:
    for tag, data, text in [
        (0x0C, "Zürich".encode(), "Zürich"),
        (0x12, b"12 34", "12 34"),
        (0x13, b"Bern", "Bern"),
        (0x14, b"Z\xfcrich", "Zürich"),
        (0x16, b"a@b", "a@b"),
        (0x1C, "ü".encode("utf-32-be"), "ü"),
        (0x1E, "Zürich".encode("utf-16-be"), "Zürich"),
        (0x04, b"\1", "#040101"),
    ]:
        value = tlv(SEQUENCE, tlv(6, encode_oid(CN)), tlv(tag, data))
        assert Name.from_der(tlv(SEQUENCE, tlv(SET, value))) == Name(((Attribute(CN, text),),))


@pytest.mark.parametrize(
    ("wanted", "presented", "covered"),
    [
        ("C=CA, O=Libreswan, CN=*", "C=CA, O=Libreswan, CN=east", True),
        ("C=CA, O=Libreswan, CN=east", "c=ca, o=libreswan, cn=EAST", True),
        ("O=a  b, CN=x", "O=A B, CN=x", True),
        ("CN=a+OU=b", "OU=b+CN=a", True),
        ("CN=*+OU=b", "OU=b+CN=a", True),
        ("C=CA, O=*, CN=*", "C=CA, O=Libreswan, CN=east", True),
        ("C=CA, O=Libreswan, CN=*", "C=CA, O=Openswan, CN=east", False),
        ("C=CA, O=Libreswan, CN=*", "C=CA, O=Libreswan", False),
        ("C=CA, CN=*", "C=CA, O=Libreswan, CN=east", False),
        ("C=CA, CN=*", "CN=*, C=CA", False),
        ("C=CA, CN=*", "C=CA, OU=east", False),
        ("CN=east", "CN=*", False),
        ("CN=*.example.org", "CN=east.example.org", False),
        ("CN=a+OU=b", "CN=a", False),
        ("CN=a", "CN=a+OU=b", False),
        ("CN=*", "CN=a+OU=b", False),
    ],
)
def test_wildcards_cover_whole_values(wanted: str, presented: str, covered: bool) -> None:
    ours, theirs = Name.parse(wanted), Name.parse(presented)
    assert ours.covers(theirs) is covered
    assert ours.same(theirs) is (covered and "*" not in wanted)


def test_a_name_begins_with_those_above_it() -> None:
    name = Name.parse("C=CA, O=Libreswan, CN=east")
    assert name.begins_with(Name.parse("c=ca, o=LIBRESWAN"))
    assert name.begins_with(name)
    assert not name.begins_with(Name.parse("C=CA, O=*"))
    assert not Name.parse("C=CA").begins_with(name)


@pytest.mark.parametrize(
    "data",
    [
        "", "30", "3001", "3100", "300030", "30800000", "308100", "3081", "300231", "30023100", "300431023000",
        "30053103300100", "300b3109300706035504030c00ff", "300c310a3008060355040a0c02c328", "300a3108300606030c0c0155",
        "300b3109300706035504830c0141", "300a310830060604550403",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused(data: str) -> None:
    with pytest.raises(ValueError, match=r"tag|length|longer|name|decode|identifier"):
        Name.from_der(bytes.fromhex(data))


@given(st.binary(max_size=80))
def test_any_octets_are_a_name_or_a_value_error(data: bytes) -> None:
    for octets in (data, tlv(SEQUENCE, data), tlv(SEQUENCE, tlv(SET, tlv(SEQUENCE, data)))):
        try:
            name = Name.from_der(octets)
        except ValueError:
            continue
        assert Name.from_der(name.der()).same(name)
        assert str(name).isprintable()


@given(st.binary(max_size=400))
def test_elements_are_put_together_again(content: bytes) -> None:
    assert only(SEQUENCE, tlv(SEQUENCE, content)) == content
    assert list(elements(tlv(SET, content) * 2)) == [(SET, content)] * 2


@pytest.mark.parametrize("oid", ["2.5.4.3", "1.2.840.113549.1.9.1", "0.9.2342.19200300.100.1.25", "2.999.1"])
def test_object_identifiers(oid: str) -> None:
    assert decode_oid(encode_oid(oid)) == oid
    assert (
        tlv(6, encode_oid(oid))
        in x509.Name([x509.NameAttribute(x509.ObjectIdentifier(oid), "x", _ASN1Type.UTF8String)]).public_bytes()
    )


@pytest.mark.parametrize("oid", ["3.1", "1.40", "1", "1.x", "-1.2"])
def test_what_is_no_object_identifier_is_refused(oid: str) -> None:
    with pytest.raises(ValueError, match=r"identifier|unpack|int"):
        encode_oid(oid)


@pytest.mark.parametrize("content", [b"", b"\x55\x84"])
def test_object_identifiers_that_are_cut_short(content: bytes) -> None:
    with pytest.raises(ValueError, match="cut short"):
        decode_oid(content)
