"""Every payload against octets laid out by hand from RFC 7296 section 3, and bodies that are out of shape."""

from ipaddress import ip_address

import pytest

from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import (
    AuthMethod,
    CertEncoding,
    CfgAttributeType,
    CfgType,
    Encr,
    Esn,
    IdType,
    KeMethod,
    NotifyType,
    PayloadType,
    ProtocolId,
    TransformType,
)
from ikeclone.selectors import TrafficSelector
from ikeclone.wire.message import build_payloads, parse_payloads
from ikeclone.wire.payloads import (
    Attribute,
    Auth,
    Certificate,
    CertRequest,
    CfgAttribute,
    Configuration,
    Delete,
    Eap,
    IdI,
    IdR,
    KeyExchange,
    Nonce,
    Notify,
    Payload,
    Proposal,
    Sa,
    Transform,
    TsI,
    TsR,
    VendorId,
)

ESP_SA = Sa(
    (
        Proposal(
            ProtocolId.ESP,
            (Transform(TransformType.ENCR, Encr.AES_GCM_16, 256), Transform(TransformType.ESN, Esn.NO)),
            spi=b"\x12\x34\x56\x78",
        ),
        Proposal(ProtocolId.ESP, (Transform(TransformType.ENCR, Encr.NULL),), b"\x9a\xbc\xde\xf0", number=2),
    )
)
ESP_SA_OCTETS = (
    "02 00 0020 01 03 04 02 12345678   03 00 000c 01 00 0014 800e 0100   00 00 0008 05 00 0000"
    "00 00 0014 02 03 04 01 9abcdef0   00 00 0008 01 00 000b"
)
IPV4 = TrafficSelector(ip_address("192.0.1.0"), ip_address("192.0.1.255"), 6, 80, 443)
IPV6 = TrafficSelector(ip_address("2001:db8::"), ip_address("2001:db8::ff"))
OPAQUE = TrafficSelector(ip_address("192.0.2.1"), ip_address("192.0.2.1"), 1, 65535, 0)

CASES: list[tuple[Payload, PayloadType, str]] = [
    (ESP_SA, PayloadType.SA, ESP_SA_OCTETS),
    (KeyExchange(KeMethod.CURVE25519, b"\xaa\xbb"), PayloadType.KE, "001f 0000 aabb"),
    (IdI(IdType.FQDN, b"west"), PayloadType.IDI, "02 000000 77657374"),
    (IdR(IdType.KEY_ID, b""), PayloadType.IDR, "0b 000000"),
    (Certificate(CertEncoding.X509_SIGNATURE, b"\x30"), PayloadType.CERT, "04 30"),
    (CertRequest(CertEncoding.X509_SIGNATURE, b""), PayloadType.CERTREQ, "04"),
    (Auth(AuthMethod.SHARED_KEY, b"\xff"), PayloadType.AUTH, "02 000000 ff"),
    (Nonce(bytes(16)), PayloadType.NONCE, "00" * 16),
    (
        Notify(NotifyType.SA_RESOURCE_INFO, b"\x01\x02"),
        PayloadType.NOTIFY,
        "00 00 403c 0102",
    ),
    (
        Notify(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"\x12\x34\x56\x78"),
        PayloadType.NOTIFY,
        "03 04 4009 12345678",
    ),
    (Delete(ProtocolId.IKE), PayloadType.DELETE, "01 00 0000"),
    (Delete(ProtocolId.ESP, (b"abcd", b"efgh")), PayloadType.DELETE, "03 04 0002 6162636465666768"),
    (VendorId(b"id"), PayloadType.VENDOR, "6964"),
    (
        TsI((IPV4, OPAQUE)),
        PayloadType.TSI,
        "02 000000  07 06 0010 0050 01bb c0000100 c00001ff  07 01 0010 ffff 0000 c0000201 c0000201",
    ),
    (
        TsR((IPV6,)),
        PayloadType.TSR,
        "01 000000  08 00 0028 0000 ffff 20010db8000000000000000000000000 20010db80000000000000000000000ff",
    ),
    (
        Configuration(CfgType.REQUEST, (CfgAttribute(CfgAttributeType.INTERNAL_IP4_ADDRESS), CfgAttribute(8, b"x"))),
        PayloadType.CP,
        "01 000000  0001 0000  0008 0001 78",
    ),
    (Eap(bytes.fromhex("01020006 0161")), PayloadType.EAP, "01020006 0161"),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "kind", "octets"), CASES, ids=[f"{case[1].name}" for case in CASES])
def test_payload_on_the_wire(payload: Payload, kind: PayloadType, octets: str) -> None:
    body = bytes.fromhex(octets)
    data = b"\0\0" + (4 + len(body)).to_bytes(2) + body
    assert build_payloads([payload]) == (kind, data)
    assert parse_payloads(kind, data) == (payload,)


def parse(kind: PayloadType, octets: str) -> Payload:
    body = bytes.fromhex(octets)
    (payload,) = parse_payloads(kind, b"\0\0" + (4 + len(body)).to_bytes(2) + body)
    return payload


@pytest.mark.parametrize(
    ("kind", "octets"),
    [
        (PayloadType.SA, ""),
        (PayloadType.SA, "00 00 0000 01 03 04 00"),
        (PayloadType.SA, "02 00 0008 01 03 00 00"),
        (PayloadType.SA, "00 00 0008 01 03 04 00"),
        (PayloadType.SA, "00 00 0008 01 03 00 01"),
        (PayloadType.SA, "00 00 0010 01 03 00 00  00 00 0008 05 00 0000"),
        (PayloadType.SA, "00 00 0010 01 03 00 01  03 00 0008 05 00 0000"),
        (PayloadType.SA, "00 00 0010 01 03 00 01  00 00 0000 05 00 0000"),
        (PayloadType.SA, "00 00 0014 01 03 00 01  00 00 000c 01 00 0014 000e 0004"),
        (PayloadType.SA, "00 00 0008 01 03 00 00" * 2),
        (PayloadType.SA, "02 00 0008 01 03 00 00" * 300 + "00 00 0008 01 03 00 00"),
        (PayloadType.KE, "001f 00"),
        (PayloadType.IDI, "02 0000"),
        (PayloadType.CERT, ""),
        (PayloadType.CERTREQ, ""),
        (PayloadType.AUTH, "02 00"),
        (PayloadType.NONCE, "00" * 15),
        (PayloadType.NONCE, "00" * 257),
        (PayloadType.NOTIFY, "00 00 40"),
        (PayloadType.NOTIFY, "03 04 4009 123456"),
        (PayloadType.DELETE, "01 00 0001"),
        (PayloadType.DELETE, "01 08 0001 0000000000000000"),
        (PayloadType.DELETE, "03 00 ffff"),
        (PayloadType.DELETE, "03 04 0002 61626364"),
        (PayloadType.DELETE, "03 04 0000 61626364"),
        (PayloadType.DELETE, "63 04 0001 61626364"),
        (PayloadType.TSI, "00 000000"),
        (PayloadType.TSI, "01 000000"),
        (PayloadType.TSI, "01 000000  07 00 0000 0000 ffff c0000100 c00001ff"),
        (PayloadType.TSI, "01 000000  07 00 000f 0000 ffff c0000100 c00001"),
        (PayloadType.TSI, "01 000000  07 00 0011 0000 ffff c0000100 c00001ff 00"),
        (PayloadType.TSI, "01 000000  07 00 0010 0000 ffff c0000200 c00001ff"),
        (PayloadType.TSI, "01 000000  07 00 0010 0000 ffff c0000100 c00001ff 00"),
        (PayloadType.TSR, "02 000000  07 00 0010 0000 ffff c0000100 c00001ff"),
        (PayloadType.CP, "01 00"),
        (PayloadType.CP, "01 000000 0001 0001"),
        (PayloadType.CP, "01 000000 00"),
        (PayloadType.EAP, ""),
        (PayloadType.EAP, "030200"),
        (PayloadType.EAP, "03020005"),
    ],
)
def test_bodies_out_of_shape(kind: PayloadType, octets: str) -> None:
    with pytest.raises(InvalidSyntax):
        parse(kind, octets)


def test_reserved_fields_are_ignored() -> None:
    assert parse(PayloadType.KE, "001f ffff aa") == KeyExchange(KeMethod.CURVE25519, b"\xaa")
    assert parse(PayloadType.CP, "02 ffffff 8001 0000") == Configuration(CfgType.REPLY, (CfgAttribute(1),))
    octets = ESP_SA_OCTETS.replace("02 00 0020", "02 ff 0020").replace("01 00 0014", "01 ff 0014")
    assert parse(PayloadType.SA, octets) == ESP_SA


def test_transforms_with_unknown_attributes_equal_no_other() -> None:
    """Neither a second key length, nor one in the wrong format, nor an attribute of the future is dropped."""
    plain = Transform(TransformType.ENCR, Encr.AES_GCM_16, 256)
    for extra in ("800e 0080", "000e 0002 0080", "8063 0001", "0063 0000"):
        body = "01 00 0014 800e 0100" + extra
        size = 4 + len(bytes.fromhex(body))
        proposal = f"00 00 {8 + size:04x} 01 03 00 01  00 00 {size:04x} {body}"
        payload = parse(PayloadType.SA, proposal)
        assert isinstance(payload, Sa)
        (transform,) = payload.proposals[0].transforms
        assert (transform.key_bits, len(transform.attributes)) == (256, 1)
        assert transform != plain
        assert payload.build() == bytes.fromhex(proposal)


def test_attributes_keep_their_format() -> None:
    assert Attribute(0x8063, b"\0\1").build().hex() == "80630001"
    assert Attribute(0x63, b"\0\1\2").build().hex() == "00630003000102"


def test_selectors_of_unknown_types_are_counted() -> None:
    octets = "02 000000  0a 00 0008 deadbeef  07 06 0010 0050 01bb c0000100 c00001ff"
    assert parse(PayloadType.TSI, octets) == TsI((IPV4,), unknown=1)
    assert parse(PayloadType.TSR, "01 000000  09 00 0004") == TsR((), unknown=1)


def test_the_two_sides_payloads_differ_though_their_bodies_do_not() -> None:
    assert IdI(IdType.FQDN, b"west") != IdR(IdType.FQDN, b"west")  # type: ignore[comparison-overlap]
    assert TsI((IPV4,)).build() == TsR((IPV4,)).build()


def test_proposals_sort_their_transforms_by_type() -> None:
    proposal = ESP_SA.proposals[0]
    assert proposal.of_type(TransformType.ESN) == (Transform(TransformType.ESN, Esn.NO),)
    assert proposal.of_type(TransformType.KE) == ()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (CfgAttributeType.INTERNAL_IP4_ADDRESS, b"\x0a\x03\x00"),
        (CfgAttributeType.INTERNAL_IP4_DNS, bytes(16)),
        (CfgAttributeType.INTERNAL_IP6_ADDRESS, bytes(18)),
        (CfgAttributeType.INTERNAL_IP6_DNS, bytes(17)),
    ],
)
def test_an_address_of_a_wrong_length(kind: CfgAttributeType, value: bytes) -> None:
    with pytest.raises(InvalidSyntax):
        CfgAttribute(kind, value).address()


def test_an_address_with_and_without_the_length_of_its_prefix() -> None:
    """RFC 7296 section 3.15.1: 16 octets and one; some leave that one out."""
    for value in (bytes(15) + b"\x01\x40", bytes(15) + b"\x01"):
        assert str(CfgAttribute(CfgAttributeType.INTERNAL_IP6_ADDRESS, value).address()) == "::1"
    assert CfgAttribute(CfgAttributeType.INTERNAL_IP6_ADDRESS).address() is None
