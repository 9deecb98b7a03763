"""Certificates and raw keys out of octets and out of configuration files."""

import json
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from ikeclone.errors import AuthenticationFailed
from ikeclone.pki.certificate import extension, issuer, load_certificate, public_key, subject
from ikeclone.pki.raw import load_private_key, load_raw_public_key, parse_public_key, raw_public_key
from tests.unit.pki.authority import NOW, alternative, new_key, root, rsa_key

ROOT = root()
LEAF = ROOT.issue("C=CA, CN=east", alternative(x509.DNSName("east.example.org")))
DER = LEAF.certificate.public_bytes(Encoding.DER)
KINDS = ("rsa", "p256", "bp256", "ed25519", "ed448")
STRANGER = X25519PrivateKey.from_private_bytes(b"k" * 32)


def test_reading() -> None:
    certificate = load_certificate(DER)
    assert certificate == LEAF.certificate
    assert (str(subject(certificate)), str(issuer(certificate))) == ("C=CA, CN=east", "C=CA, O=Test, CN=Root")
    assert raw_public_key(public_key(certificate)) == raw_public_key(LEAF.key.public_key())
    assert extension(certificate, x509.SubjectAlternativeName) is not None
    assert extension(certificate, x509.KeyUsage) is None


@pytest.mark.parametrize("data", [b"", b"\x30\x00", DER[:-1], DER + b"\0", DER[: len(DER) // 2]])
def test_what_is_no_certificate(data: bytes) -> None:
    with pytest.raises(AuthenticationFailed, match="cannot be read"):
        load_certificate(data)


def test_extensions_that_cannot_be_read() -> None:
    broken = ROOT.issue("CN=east", x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05"))
    with pytest.raises(AuthenticationFailed, match="cannot be read"):
        load_certificate(broken.certificate.public_bytes(Encoding.DER))


def test_a_key_that_does_not_sign() -> None:
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(ROOT.certificate.subject)
    builder = builder.public_key(STRANGER.public_key()).serial_number(1).not_valid_before(NOW).not_valid_after(NOW)
    with pytest.raises(AuthenticationFailed, match="a key that does not sign"):
        load_certificate(builder.sign(rsa_key(), SHA256()).public_bytes(Encoding.DER))


def test_a_number_that_is_not_positive() -> None:
    number = b"\2\2" + LEAF.certificate.serial_number.to_bytes(2)
    with pytest.raises(AuthenticationFailed, match="not positive"):
        load_certificate(DER.replace(number, b"\2\2\x80" + number[-1:]))


@given(st.integers(0, len(DER) - 1), st.integers(1, 255))
def test_a_changed_octet_is_a_certificate_or_authentication_failed(place: int, change: int) -> None:
    octets = bytearray(DER)
    octets[place] ^= change
    try:
        certificate = load_certificate(bytes(octets))
    except AuthenticationFailed:
        return
    assert str(subject(certificate)).isprintable()


@pytest.mark.parametrize("kind", KINDS)
def test_raw_public_keys(kind: str) -> None:
    key = new_key(kind).public_key()
    data = raw_public_key(key)
    assert raw_public_key(load_raw_public_key(data)) == data
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    base64 = b64encode(data).decode()
    for text in (pem, base64, "0s" + base64, f" 0s{base64[:40]}\n {base64[40:]} "):
        assert raw_public_key(parse_public_key(text)) == data


def test_rsasigkey_is_rfc_3110() -> None:
    """A three-octet exponent, and one with its length in three octets; the modulus is RFC 7520's."""
    vectors = json.loads((Path(__file__).parents[2] / "vectors/signatures.json").read_text())["rsa"]
    exponent, modulus = bytes.fromhex(vectors["e"]), bytes.fromhex(vectors["n"])
    for data in (b"\3" + exponent + modulus, b"\0\0\3" + exponent + modulus):
        key = parse_public_key("0s" + b64encode(data).decode())
        assert isinstance(key, rsa.RSAPublicKey)
        numbers = key.public_numbers()
        assert (numbers.e, numbers.n) == (int.from_bytes(exponent), int.from_bytes(modulus))


@pytest.mark.parametrize(
    "text", ["", "0s", "east", "0sAQ==", "0s!!!!", "-----BEGIN PUBLIC KEY-----", "0sAwEAAQ==", "0x03"]
)
def test_what_is_no_public_key(text: str) -> None:
    with pytest.raises(ValueError, match="neither PEM nor base64"):
        parse_public_key(text)


def test_a_raw_key_that_does_not_sign() -> None:
    data = STRANGER.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(AuthenticationFailed, match="does not sign"):
        load_raw_public_key(data)
    with pytest.raises(AuthenticationFailed, match="cannot be read"):
        load_raw_public_key(data[:-1])
    with pytest.raises(ValueError, match="neither PEM nor base64"):
        parse_public_key(b64encode(data).decode())


@pytest.mark.parametrize("kind", KINDS)
def test_private_keys(kind: str) -> None:
    key = new_key(kind)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert raw_public_key(load_private_key(pem).public_key()) == raw_public_key(key.public_key())
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    for data in (b"", b"not a key", pem[:40], locked):
        with pytest.raises(ValueError, match="not an unencrypted private key") as mistake:
            load_private_key(data)
        assert mistake.value.__cause__ is None


def test_a_private_key_that_does_not_sign() -> None:
    with pytest.raises(ValueError, match="does not sign: X25519PrivateKey"):
        load_private_key(STRANGER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
