"""Encrypted payloads: vectors, every supported cipher there and back, forgeries and wrong padding."""

import hmac
import json
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from ikeclone.crypto.algorithms import integrity_key_size, key_sizes
from ikeclone.crypto.cipher import IkeCipher, IntegrityError
from ikeclone.crypto.prf import prf
from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import Encr, Integ, NotifyType, PayloadType, Prf
from ikeclone.wire.message import build_protected, parse_message, parse_payloads
from ikeclone.wire.payloads import Encrypted, Notify

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/aead.json").read_text())
TAGS = {Encr.AES_GCM_8: 8, Encr.AES_GCM_12: 12, Encr.AES_GCM_16: 16}
CCM_TAGS = {Encr.AES_CCM_8: 8, Encr.AES_CCM_12: 12, Encr.AES_CCM_16: 16}
SUITES = [
    *((cipher, bits, Integ.NONE) for cipher in (*TAGS, *CCM_TAGS) for bits in (128, 192, 256)),
    (Encr.CHACHA20_POLY1305, 256, Integ.NONE),
    (Encr.AES_CBC, 128, Integ.HMAC_SHA1_96),
    (Encr.AES_CBC, 192, Integ.HMAC_SHA2_256_128),
    (Encr.AES_CBC, 256, Integ.HMAC_SHA2_384_192),
    (Encr.AES_CBC, 256, Integ.HMAC_SHA2_512_256),
    (Encr.AES_CTR, 256, Integ.HMAC_SHA2_256_128),
    (Encr.AES_CBC, 128, Integ.AES_XCBC_96),
    (Encr.AES_CTR, 128, Integ.AES_CMAC_96),
]


def make(encryption: Encr, bits: int, integrity: Integ) -> IkeCipher:
    octets = random.Random(bits).randbytes
    keys = octets(key_sizes(encryption, bits)), octets(integrity_key_size(integrity))
    return IkeCipher(encryption, bits, integrity, *keys)


@pytest.mark.parametrize("encryption", TAGS, ids=lambda encryption: encryption.name)
@pytest.mark.parametrize("vector", VECTORS["gcm"], ids=lambda vector: f"case{vector['case']}")
def test_gcm_vectors(vector: dict[str, Any], encryption: Encr) -> None:
    """A shorter ICV is the longer one cut off; the vector's last octet happens to be a possible pad length."""
    key, nonce, aad, plaintext, ciphertext, tag = (
        bytes.fromhex(vector[name]) for name in ("key", "nonce", "aad", "plaintext", "ciphertext", "tag")
    )
    cipher = IkeCipher(encryption, len(key) * 8, Integ.NONE, key + nonce[:4], b"")
    body = nonce[4:] + ciphertext + tag[: TAGS[encryption]]
    assert cipher.open(body, aad) == plaintext[: -1 - plaintext[-1]]


def test_ccm_vector() -> None:
    vector = {name: bytes.fromhex(value) for name, value in VECTORS["ccm"].items()}
    nonce, plaintext = vector["nonce"], vector["plaintext"]
    cipher = IkeCipher(Encr.AES_CCM_16, 192, Integ.NONE, vector["key"] + nonce[:3], b"")
    body = nonce[3:] + vector["ciphertext"] + vector["tag"]
    assert cipher.open(body, vector["aad"]) == plaintext[:-1], "it ends with a pad length of 0"
    assert cipher.seal(plaintext[:-1], vector["aad"], nonce[3:]) == body


@pytest.mark.parametrize("encryption", CCM_TAGS, ids=lambda encryption: encryption.name)
def test_ccm_nonce_and_icv_are_those_of_rfc_4309(encryption: Encr) -> None:
    key, salt, iv = b"k" * 16, b"slt", b"initvect"
    body = IkeCipher(encryption, 128, Integ.NONE, key + salt, b"").seal(b"text", b"header", iv)
    assert body == iv + AESCCM(key, CCM_TAGS[encryption]).encrypt(salt + iv, b"text\0", b"header")


@pytest.mark.parametrize("integrity", [Integ.AES_XCBC_96, Integ.AES_CMAC_96], ids=lambda integrity: integrity.name)
def test_aes_integrity_keeps_the_first_96_bits(integrity: Integ) -> None:
    body = IkeCipher(Encr.AES_CBC, 128, integrity, b"k" * 16, b"a" * 16).seal(b"text", b"header", b"v" * 16)
    function = {Integ.AES_XCBC_96: Prf.AES128_XCBC, Integ.AES_CMAC_96: Prf.AES128_CMAC}[integrity]
    assert body[-12:] == prf(function, b"a" * 16, b"header" + body[:-12])[:12]


def test_chacha20_poly1305_example_of_rfc_7634() -> None:
    vector = {name: bytes.fromhex(value) for name, value in VECTORS["chacha20_poly1305_ike"].items()}
    cipher = IkeCipher(Encr.CHACHA20_POLY1305, 256, Integ.NONE, vector["key"] + vector["salt"], b"")
    body = vector["iv"] + vector["ciphertext"] + vector["tag"]
    assert cipher.overhead(len(vector["plaintext"])) == len(body)
    assert cipher.seal(vector["plaintext"], vector["aad"], vector["iv"]) == body

    message = parse_message(vector["aad"] + body)
    sealed = message.require(Encrypted)
    assert build_protected(message.header, sealed.first, len(sealed.body)) == vector["aad"]
    assert sealed.first == PayloadType.NOTIFY
    payloads = parse_payloads(sealed.first, cipher.open(sealed.body, vector["aad"]))
    assert payloads == (Notify(NotifyType.SET_WINDOW_SIZE, (10).to_bytes(4)),)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: "-".join(map(str, suite)))
def test_there_and_back(suite: tuple[Encr, int, Integ]) -> None:
    cipher = make(*suite)
    for size in (0, 1, 14, 15, 16, 17, 1000):
        plaintext = random.Random(size).randbytes(size)
        body = cipher.seal(plaintext, b"header", b"i" * cipher.iv_size)
        assert len(body) == cipher.overhead(size)
        assert cipher.open(body, b"header") == plaintext


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: "-".join(map(str, suite)))
def test_forgeries_are_refused(suite: tuple[Encr, int, Integ]) -> None:
    cipher = make(*suite)
    body = cipher.seal(b"plaintext", b"header", b"i" * cipher.iv_size)
    flipped = [body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :] for i in range(len(body))]
    shortened = [body[:size] for size in range(len(body))]
    for forged in (*flipped, *shortened, body + b"\0", body + body):
        with pytest.raises(IntegrityError):
            cipher.open(forged, b"header")
    with pytest.raises(IntegrityError):
        cipher.open(body, b"Header")


def test_cbc_and_hmac_are_put_together_as_section_3_14_says() -> None:
    key, integrity_key, iv, aad = b"k" * 32, b"a" * 32, b"v" * 16, b"header"
    body = IkeCipher(Encr.AES_CBC, 256, Integ.HMAC_SHA2_256_128, key, integrity_key).seal(b"text", aad, iv)
    ciphertext, icv = body[16:-16], body[-16:]
    assert body[:16] == iv
    assert icv == hmac.digest(integrity_key, aad + iv + ciphertext, "sha256")[:16]
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    assert decryptor.update(ciphertext) + decryptor.finalize() == b"text" + bytes(11) + b"\x0b"


def gcm_body(padded: bytes) -> tuple[IkeCipher, bytes]:
    """A cipher and a body of its key whose sender padded the plaintext by itself."""
    key, iv = b"k" * 20, bytes(8)
    encryptor = Cipher(algorithms.AES(key[:16]), modes.GCM(key[16:] + iv)).encryptor()
    encryptor.authenticate_additional_data(b"header")
    body = iv + encryptor.update(padded) + encryptor.finalize() + encryptor.tag
    return IkeCipher(Encr.AES_GCM_16, 128, Integ.NONE, key, b""), body


def test_longer_padding_than_necessary_is_accepted() -> None:
    cipher, body = gcm_body(b"text" + b"p" * 200 + bytes([200]))
    assert cipher.open(body, b"header") == b"text"


def test_more_padding_than_plaintext_is_the_peers_mistake() -> None:
    cipher, body = gcm_body(b"text\x05")
    with pytest.raises(InvalidSyntax, match="padding"):
        cipher.open(body, b"header")


@pytest.mark.parametrize(("size", "integrity_size"), [(19, 0), (21, 0), (20, 1)])
def test_keys_of_wrong_size_are_refused(size: int, integrity_size: int) -> None:
    with pytest.raises(ValueError, match="octets"):
        IkeCipher(Encr.AES_GCM_16, 128, Integ.NONE, bytes(size), bytes(integrity_size))
