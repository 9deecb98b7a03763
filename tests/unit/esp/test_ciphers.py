"""ESP ciphers: a published packet, round trips, and what must not open."""

from __future__ import annotations

import os

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from ikeclone.backend import BackendError, Encr, EspKeys, EspSuite, Integ
from ikeclone_esp.ciphers import EspCipher, inner_mtu, make_cipher, strip, supported, trailer

SUITES = [
    (EspSuite(Encr.AES_GCM_16, 128, Integ.NONE), 20, 0),
    (EspSuite(Encr.AES_GCM_16, 256, Integ.NONE), 36, 0),
    (EspSuite(Encr.CHACHA20_POLY1305, 256, Integ.NONE), 36, 0),
    (EspSuite(Encr.AES_CBC, 128, Integ.HMAC_SHA2_256_128), 16, 32),
    (EspSuite(Encr.AES_CBC, 256, Integ.HMAC_SHA2_384_192), 32, 48),
    (EspSuite(Encr.AES_CBC, 256, Integ.HMAC_SHA2_512_256), 32, 64),
]
CASES = [
    (EspSuite(suite.encryption, suite.key_bits, suite.integrity, esn), sizes)
    for suite, *sizes in SUITES
    for esn in (False, True)
]


def cipher_of(suite: EspSuite, sizes: list[int]) -> EspCipher:
    return make_cipher(suite, EspKeys(bytes(range(sizes[0])), bytes(range(sizes[1]))))


def test_rfc_7634_appendix_a() -> None:
    keys = EspKeys(bytes(range(0x80, 0xA4)))
    cipher = make_cipher(EspSuite(Encr.CHACHA20_POLY1305, 256, Integ.NONE), keys)
    packet = bytes.fromhex(
        "01020304 00000005 1011121314151617"
        "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7"
        "2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0"
        "76aaa8266b7fb0f7b11b369907e1ad43"
    )
    plain = cipher.open(memoryview(packet), 5)
    length, next_header = strip(plain)
    assert (length, next_header) == (84, 4)
    assert plain[:20].hex() == "45000054a6f200004001e778c6336405c0000205"


@pytest.mark.parametrize(("suite", "sizes"), CASES, ids=str)
def test_round_trip(suite: EspSuite, sizes: list[int]) -> None:
    cipher, number = cipher_of(suite, sizes), (7 << 32 if suite.esn else 0) + 9
    for length in (0, 1, 13, 14, 15, 16, 84, 1400):
        plain = os.urandom(length)
        packet = cipher.seal(b"\x01\x02\x03\x04", number, plain + trailer(length, cipher.align, 4))
        assert packet[:8] == bytes.fromhex("0102030400000009")
        opened = cipher.open(memoryview(packet), number)
        assert strip(opened) == (length, 4)
        assert opened[:length] == plain


@pytest.mark.parametrize(("suite", "sizes"), CASES, ids=str)
def test_every_octet_is_authenticated(suite: EspSuite, sizes: list[int]) -> None:
    cipher = cipher_of(suite, sizes)
    packet = cipher.seal(bytes(4), 1, bytes(14) + trailer(14, cipher.align, 4))
    for i in range(len(packet)):
        forged = bytearray(packet)
        forged[i] ^= 1
        # Without ESN the number in the packet is the one that counts; AEADs take it from there.
        number = int.from_bytes(forged[4:8], "big")
        with pytest.raises(InvalidTag):
            cipher.open(memoryview(forged), number)


@pytest.mark.parametrize(("suite", "sizes"), [c for c in CASES if c[0].esn], ids=str)
def test_high_half_of_the_number_is_authenticated(suite: EspSuite, sizes: list[int]) -> None:
    cipher = cipher_of(suite, sizes)
    packet = cipher.seal(bytes(4), 5, bytes(14) + trailer(14, cipher.align, 4))
    with pytest.raises(InvalidTag):
        cipher.open(memoryview(packet), (1 << 32) + 5)


@given(st.integers(0, 2000), st.sampled_from([4, 16]))
def test_trailer(length: int, align: int) -> None:
    tail = trailer(length, align, 41)
    assert (length + len(tail)) % align == 0
    assert tail[-2] == len(tail) - 2 < align
    assert tail[:-2] == bytes(range(1, len(tail) - 1))
    assert strip(bytes(length) + tail) == (length, 41)


def test_padding_beyond_the_packet() -> None:
    with pytest.raises(ValueError, match="padding"):
        strip(b"\x01\x04")


def test_inner_mtu_fits_every_suite() -> None:
    for outer in range(1300, 1500):
        inner = inner_mtu(outer)
        sizes = [len(cipher_of(*case).seal(bytes(4), 1, bytes(inner) + trailer(inner, cipher_of(*case).align, 4)))
                 for case in CASES]  # fmt: skip
        assert max(sizes) <= outer
        assert max(sizes) > outer - 16


def test_unsupported() -> None:
    assert not supported(EspSuite(Encr.AES_CBC, 128, Integ.NONE))
    assert not supported(EspSuite(Encr.AES_GCM_8, 128, Integ.NONE))
    with pytest.raises(BackendError, match="not supported by the esp backend"):
        make_cipher(EspSuite(Encr.NULL, 0, Integ.HMAC_SHA2_256_128), EspKeys(b"", bytes(32)))


def test_wrong_key_size_names_no_key() -> None:
    with pytest.raises(BackendError) as caught:
        make_cipher(EspSuite(Encr.AES_GCM_16, 256, Integ.NONE), EspKeys(b"secret of a wrong size"))
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
