"""Header, chain of payloads, and what a message must not look like."""

import pytest

from ikeclone.errors import InvalidMajorVersion, InvalidSyntax, UnsupportedCriticalPayload
from ikeclone.numbers import ExchangeType, NotifyType, PayloadType
from ikeclone.wire.message import (
    HEADER_SIZE,
    MAX_PAYLOADS,
    Header,
    Message,
    build_message,
    build_payloads,
    build_protected,
    parse_header,
    parse_message,
    parse_payloads,
)
from ikeclone.wire.payloads import Encrypted, EncryptedFragment, Nonce, Notify, Payload, Unknown, VendorId

HEADER = Header(b"initSPI!", b"respSPI!", ExchangeType.INFORMATIONAL, 7, initiator=True, response=False)
NONCE = Nonce(bytes(range(16)))
COOKIE = Notify(NotifyType.COOKIE, b"c")


def message(first: int, payloads: bytes) -> bytes:
    return HEADER.build(PayloadType(first), len(payloads)) + payloads


def test_header_on_the_wire() -> None:
    data = build_message(HEADER, [])
    assert data.hex() == b"initSPI!respSPI!".hex() + "00" + "20" + "25" + "08" + "00000007" + "0000001c"
    assert parse_header(data) == HEADER


@pytest.mark.parametrize(("initiator", "response", "flags"), [(0, 0, 0), (1, 0, 8), (0, 1, 0x20), (1, 1, 0x28)])
def test_flags(initiator: int, response: int, flags: int) -> None:
    header = Header(bytes(8), bytes(8), ExchangeType.IKE_AUTH, 0, bool(initiator), bool(response))
    data = build_message(header, [])
    assert data[19] == flags
    reserved = data[:17] + b"\x2f" + data[18:19] + bytes([flags | 0xD7 & ~0x28]) + data[20:]
    assert parse_header(reserved) == header


def test_other_major_versions() -> None:
    data = build_message(HEADER, [])
    for version in (0x10, 0x30):
        with pytest.raises(InvalidMajorVersion, match=f"{version >> 4}.0"):
            parse_header(data[:17] + bytes([version]) + data[18:])


def test_payloads_chain() -> None:
    assert build_message(HEADER, [COOKIE, NONCE])[HEADER_SIZE:].hex() == (
        "28000009" + "0000" + "4006" + "63" + "00000014" + bytes(range(16)).hex()
    )
    assert parse_message(build_message(HEADER, [COOKIE, NONCE])) == Message(HEADER, (COOKIE, NONCE))


def test_finding_payloads() -> None:
    other = Notify(NotifyType.INITIAL_CONTACT)
    parsed = Message(HEADER, (COOKIE, NONCE, other))
    assert parsed.first(Notify) == COOKIE
    assert parsed.first(VendorId) is None
    assert parsed.all(Notify) == parsed.notifies() == (COOKIE, other)
    assert parsed.notify(NotifyType.INITIAL_CONTACT) == other
    assert parsed.notify(NotifyType.REKEY_SA) is None
    assert parsed.require(Nonce) == NONCE


def test_required_payloads_come_exactly_once() -> None:
    with pytest.raises(InvalidSyntax, match="0 Nonce payloads in INFORMATIONAL"):
        Message(HEADER, ()).require(Nonce)
    with pytest.raises(InvalidSyntax, match="2 Nonce payloads"):
        Message(HEADER, (NONCE, NONCE)).require(Nonce)


@pytest.mark.parametrize("size", range(HEADER_SIZE))
def test_truncated_headers(size: int) -> None:
    with pytest.raises(InvalidSyntax):
        parse_header(build_message(HEADER, [])[:size])


@pytest.mark.parametrize(
    "data",
    [
        build_message(HEADER, [NONCE])[:-1],
        build_message(HEADER, [NONCE]) + b"\0",
        message(0, b"\0"),
        message(40, b""),
        message(40, b"\0\0\0"),
        message(40, bytes.fromhex("00000000")),
        message(40, bytes.fromhex("00000003")),
        message(43, bytes.fromhex("2b000004") * 3),
        message(43, bytes.fromhex("0000ffff00")),
        message(43, bytes.fromhex("0000000400")),
    ],
    ids=[
        "cut", "trailing octet", "octets after NONE", "no payload", "half a header", "length 0", "length 3",
        "no end", "beyond the end", "octets after the last",
    ],
)  # fmt: skip
def test_messages_out_of_shape(data: bytes) -> None:
    with pytest.raises(InvalidSyntax):
        parse_message(data)


def test_unknown_payloads() -> None:
    unknown = bytes.fromhex("00000006beef")
    assert parse_message(message(200, unknown)).payloads == (
        Unknown(PayloadType(200), critical=False, data=b"\xbe\xef"),
    )
    with pytest.raises(UnsupportedCriticalPayload) as caught:
        parse_message(message(200, b"\x00\x80" + unknown[2:]))
    assert caught.value.data == bytes([200])


def test_the_critical_bit_of_known_payloads_means_nothing() -> None:
    assert parse_payloads(PayloadType.VENDOR, bytes.fromhex("0080000563")) == (VendorId(b"c"),)


def test_unknown_critical_payloads_can_be_built() -> None:
    first, data = build_payloads([Unknown(PayloadType(200), critical=True, data=b"x")])
    assert (first, data) == (200, bytes.fromhex("0080000578"))


def test_number_of_payloads_is_bounded() -> None:
    vendors: list[Payload] = [VendorId(b"")] * MAX_PAYLOADS
    assert len(parse_message(build_message(HEADER, vendors)).payloads) == MAX_PAYLOADS
    with pytest.raises(InvalidSyntax, match="256 payloads"):
        parse_message(build_message(HEADER, [*vendors, VendorId(b"")]))


@pytest.mark.parametrize(
    ("sealed", "fragment"),
    [
        (Encrypted(PayloadType.NONCE, b"body"), None),
        (Encrypted(PayloadType.NONE, b""), None),
        (EncryptedFragment(PayloadType.NONCE, 2, 3, b"body"), (2, 3)),
    ],
    ids=["SK", "empty", "SKF"],
)
def test_what_precedes_a_sealed_body(sealed: Encrypted | EncryptedFragment, fragment: tuple[int, int] | None) -> None:
    data = build_message(HEADER, [sealed])
    assert build_protected(HEADER, sealed.first, len(sealed.body), fragment) + sealed.body == data
    assert parse_message(data) == Message(HEADER, (sealed,))


def test_sealed_payloads_are_last_and_not_nested() -> None:
    sealed = Encrypted(PayloadType.NONCE, b"body")
    assert parse_message(build_message(HEADER, [COOKIE, sealed])).payloads == (COOKIE, sealed)
    with pytest.raises(InvalidSyntax, match="too many"):
        parse_message(message(46, bytes.fromhex("28000005ff") + bytes.fromhex("00000014") + bytes(16)))
    for kind in (PayloadType.SK, PayloadType.SKF):
        with pytest.raises(InvalidSyntax, match="inside another"):
            parse_payloads(kind, bytes.fromhex("0000000500"))


@pytest.mark.parametrize("numbers", ["00000000", "00010000", "00000001", "00030002"])
def test_fragment_numbers(numbers: str) -> None:
    with pytest.raises(InvalidSyntax, match="fragment"):
        parse_message(message(53, bytes.fromhex("28000009" + numbers + "ff")))


def test_sealed_bodies_are_not_printed() -> None:
    assert "body" not in repr(Encrypted(PayloadType.NONE, b"body"))
