"""Signatures of AUTH payloads: published vectors, every kind of key there and back, and what must be refused."""

import json
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey, Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ikeclone.crypto.schemes import SCHEMES, Kind, Scheme, algorithm_identifier, scheme_of
from ikeclone.crypto.signature import (
    DEFAULT_POLICY,
    PrivateKey,
    PublicKey,
    SignaturePolicy,
    announce_hashes,
    announced_hashes,
    sign,
    verify,
)
from ikeclone.errors import AuthenticationFailed, InvalidSyntax, LocalError
from ikeclone.numbers import AuthMethod, HashAlgorithm

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/signatures.json").read_text())
IDENTIFIERS = {name: bytes.fromhex(octets) for name, octets in VECTORS["algorithm_identifiers"].items()}
CURVES = {
    AuthMethod.ECDSA_256: ec.SECP256R1(),
    AuthMethod.ECDSA_384: ec.SECP384R1(),
    AuthMethod.ECDSA_521: ec.SECP521R1(),
}
SHA1, SHA256, SHA384, SHA512, IDENTITY = (
    HashAlgorithm.SHA1,
    HashAlgorithm.SHA2_256,
    HashAlgorithm.SHA2_384,
    HashAlgorithm.SHA2_512,
    HashAlgorithm.IDENTITY,
)
ALL = frozenset({SHA1, SHA256, SHA384, SHA512, IDENTITY})
OLD_POLICY = SignaturePolicy(hashes=(SHA256, SHA1))
PKCS1 = SignaturePolicy(kinds=(Kind.RSA_PKCS1, Kind.RSA_PSS))
KEYS = ("rsa", "p256", "p384", "p521", "bp256", "bp384", "bp512", "ed25519", "ed448")


@cache
def private_key(name: str) -> PrivateKey:
    curves: dict[str, ec.EllipticCurve] = {
        "p224": ec.SECP224R1(),
        "p256": ec.SECP256R1(),
        "p384": ec.SECP384R1(),
        "p521": ec.SECP521R1(),
        "bp256": ec.BrainpoolP256R1(),
        "bp384": ec.BrainpoolP384R1(),
        "bp512": ec.BrainpoolP512R1(),
    }
    match name:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "rsa1024":
            return rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
        case "ed25519":
            return Ed25519PrivateKey.from_private_bytes(b"k" * 32)
        case "ed448":
            return Ed448PrivateKey.from_private_bytes(b"k" * 57)
        case _:
            return ec.derive_private_key(int.from_bytes(b"k" * 28), curves[name])


def digital(scheme: Scheme | bytes, signature: bytes) -> bytes:
    identifier = scheme if isinstance(scheme, bytes) else algorithm_identifier(scheme)
    return bytes([len(identifier)]) + identifier + signature


@pytest.mark.parametrize("vector", VECTORS["ecdsa"], ids=lambda vector: vector["method"])
def test_rfc_4754_vectors(vector: dict[str, str]) -> None:
    method = AuthMethod[vector["method"]]
    numbers = ec.EllipticCurvePublicNumbers(int(vector["x"], 16), int(vector["y"], 16), CURVES[method])
    verify(numbers.public_key(), method, bytes.fromhex(vector["signature"]), bytes.fromhex(vector["octets"]))


@pytest.mark.parametrize("vector", VECTORS["rsa"]["vectors"], ids=lambda vector: vector["scheme"])
def test_rfc_7520_vectors(vector: dict[str, str]) -> None:
    key = rsa.RSAPublicNumbers(int(VECTORS["rsa"]["e"], 16), int(VECTORS["rsa"]["n"], 16)).public_key()
    pkcs1 = vector["scheme"] == "pkcs1_sha256"
    scheme = Scheme(Kind.RSA_PKCS1, SHA256) if pkcs1 else Scheme(Kind.RSA_PSS, SHA384)
    signature, octets = bytes.fromhex(vector["signature"]), bytes.fromhex(vector["octets"])
    verify(key, AuthMethod.DIGITAL_SIGNATURE, digital(scheme, signature), octets)
    if pkcs1:
        verify(key, AuthMethod.RSA_SIGNATURE, signature, octets)


@pytest.mark.parametrize("vector", VECTORS["eddsa"], ids=lambda vector: f"{vector['curve']}-{len(vector['octets'])}")
def test_rfc_8032_vectors(vector: dict[str, str]) -> None:
    private, public, octets, signature = (
        bytes.fromhex(vector[name]) for name in ("private", "public", "octets", "signature")
    )
    key: PrivateKey
    peer: PublicKey
    if vector["curve"] == "ed25519":
        key, peer = Ed25519PrivateKey.from_private_bytes(private), Ed25519PublicKey.from_public_bytes(public)
        expected = digital(IDENTIFIERS["id-Ed25519"], signature)
    else:
        key, peer = Ed448PrivateKey.from_private_bytes(private), Ed448PublicKey.from_public_bytes(public)
        expected = digital(IDENTIFIERS["id-Ed448"], signature)
    assert sign(key, octets, [IDENTITY]) == (AuthMethod.DIGITAL_SIGNATURE, expected)
    verify(peer, AuthMethod.DIGITAL_SIGNATURE, expected, octets)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("sha1WithRSAEncryption", Scheme(Kind.RSA_PKCS1, SHA1)),
        ("sha256WithRSAEncryption", Scheme(Kind.RSA_PKCS1, SHA256)),
        ("sha384WithRSAEncryption", Scheme(Kind.RSA_PKCS1, SHA384)),
        ("sha512WithRSAEncryption", Scheme(Kind.RSA_PKCS1, SHA512)),
        ("ecdsa-with-sha1", Scheme(Kind.ECDSA, SHA1)),
        ("ecdsa-with-sha256", Scheme(Kind.ECDSA, SHA256)),
        ("ecdsa-with-sha384", Scheme(Kind.ECDSA, SHA384)),
        ("ecdsa-with-sha512", Scheme(Kind.ECDSA, SHA512)),
        ("id-Ed25519", Scheme(Kind.ED25519, IDENTITY)),
        ("id-Ed448", Scheme(Kind.ED448, IDENTITY)),
    ],
)
def test_algorithm_identifiers_are_those_of_the_rfcs(name: str, scheme: Scheme) -> None:
    assert scheme_of(IDENTIFIERS[name]) == scheme
    assert algorithm_identifier(scheme) == IDENTIFIERS[name]


def test_pss_is_understood_with_its_default_trailer_and_sent_without() -> None:
    scheme = Scheme(Kind.RSA_PSS, SHA256)
    published = IDENTIFIERS["RSASSA-PSS with SHA-256"]
    assert scheme_of(published) == scheme
    # What DER leaves out is the last field; the two lengths around it shrink with it.
    shorter = bytearray(published[:-5])
    shorter[1] -= 5
    shorter[14] -= 5
    assert algorithm_identifier(scheme) == bytes(shorter)


@pytest.mark.parametrize("name", ["empty", "default"])
def test_pss_with_sha1_is_unknown(name: str) -> None:
    assert scheme_of(IDENTIFIERS[f"RSASSA-PSS with {name} parameters"]) is None


def test_no_two_schemes_share_an_identifier() -> None:
    assert {scheme_of(algorithm_identifier(scheme)) for scheme in SCHEMES} == SCHEMES
    assert len(SCHEMES) == 3 + 4 + 4 + 2


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("policy", [DEFAULT_POLICY, PKCS1], ids=["pss", "pkcs1"])
def test_there_and_back(name: str, policy: SignaturePolicy) -> None:
    if policy is PKCS1 and name != "rsa":
        policy = DEFAULT_POLICY
    key = private_key(name)
    method, data = sign(key, b"octets", ALL, policy)
    assert method == AuthMethod.DIGITAL_SIGNATURE
    verify(key.public_key(), method, data, b"octets")
    for forged in (data[:-1] + bytes([data[-1] ^ 1]), data[:-1], data + b"\0"):
        with pytest.raises(AuthenticationFailed, match="wrong"):
            verify(key.public_key(), method, forged, b"octets")
    with pytest.raises(AuthenticationFailed, match="wrong"):
        verify(key.public_key(), method, data, b"other")


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("rsa", AuthMethod.RSA_SIGNATURE),
        ("p256", AuthMethod.ECDSA_256),
        ("p384", AuthMethod.ECDSA_384),
        ("p521", AuthMethod.ECDSA_521),
    ],
)
@pytest.mark.parametrize("announced", [None, frozenset(), frozenset({SHA1})], ids=["nothing", "empty", "sha1"])
def test_older_methods_where_nothing_else_is_common(
    name: str, method: AuthMethod, announced: frozenset[HashAlgorithm] | None
) -> None:
    key = private_key(name)
    used, data = sign(key, b"octets", announced)
    assert used == method
    verify(key.public_key(), method, data, b"octets")
    with pytest.raises(AuthenticationFailed):
        verify(key.public_key(), method, data[:-1] + bytes([data[-1] ^ 1]), b"octets")


@pytest.mark.parametrize(
    ("name", "announced", "scheme"),
    [
        ("rsa", ALL, Scheme(Kind.RSA_PSS, SHA512)),
        ("rsa", {SHA256}, Scheme(Kind.RSA_PSS, SHA256)),
        ("p256", ALL, Scheme(Kind.ECDSA, SHA256)),
        ("p256", {SHA384, SHA512}, Scheme(Kind.ECDSA, SHA512)),
        ("p384", ALL, Scheme(Kind.ECDSA, SHA384)),
        ("p521", ALL, Scheme(Kind.ECDSA, SHA512)),
        ("bp384", ALL, Scheme(Kind.ECDSA, SHA384)),
        ("bp512", ALL, Scheme(Kind.ECDSA, SHA512)),
        ("ed25519", {IDENTITY}, Scheme(Kind.ED25519, IDENTITY)),
    ],
)
def test_the_hash_is_one_that_the_peer_announced(name: str, announced: set[HashAlgorithm], scheme: Scheme) -> None:
    _, data = sign(private_key(name), b"octets", announced)
    assert scheme_of(data[1 : 1 + data[0]]) == scheme


@pytest.mark.parametrize(
    ("name", "announced"),
    [("ed25519", None), ("ed448", frozenset({SHA256})), ("bp256", None), ("p224", ALL), ("p224", None)],
)
def test_a_key_that_the_peer_cannot_verify_is_our_fault(name: str, announced: frozenset[HashAlgorithm] | None) -> None:
    with pytest.raises(LocalError, match="authby"):
        sign(private_key(name), b"octets", announced)


def test_sha1_signs_and_verifies_only_where_named() -> None:
    key = private_key("rsa")
    method, data = sign(key, b"octets", None, OLD_POLICY)
    assert isinstance(key, rsa.RSAPrivateKey)
    key.public_key().verify(data, b"octets", padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
    verify(key.public_key(), method, data, b"octets", OLD_POLICY)
    with pytest.raises(AuthenticationFailed, match="not allowed"):
        verify(key.public_key(), method, data, b"octets")
    sha1 = digital(Scheme(Kind.RSA_PKCS1, SHA1), data)
    verify(key.public_key(), AuthMethod.DIGITAL_SIGNATURE, sha1, b"octets", OLD_POLICY)
    with pytest.raises(AuthenticationFailed, match="SHA1, which is not allowed"):
        verify(key.public_key(), AuthMethod.DIGITAL_SIGNATURE, sha1, b"octets")


def test_a_policy_limits_what_signs() -> None:
    key = private_key("rsa")
    method, data = sign(key, b"octets", ALL)
    pkcs1_only = SignaturePolicy(kinds=(Kind.RSA_PKCS1,))
    with pytest.raises(AuthenticationFailed, match="RSASSA-PSS with SHA2_512, which is not allowed"):
        verify(key.public_key(), method, data, b"octets", pkcs1_only)
    with pytest.raises(LocalError, match="authby"):
        sign(key, b"octets", None, SignaturePolicy(kinds=(Kind.RSA_PSS,)))
    with pytest.raises(LocalError, match="authby"):
        sign(private_key("p256"), b"octets", None, SignaturePolicy(hashes=(SHA512,)))
    with pytest.raises(LocalError, match="authby"):
        sign(key, b"octets", None, SignaturePolicy(hashes=(IDENTITY,)))


def test_short_rsa_keys_are_refused() -> None:
    key = private_key("rsa1024")
    method, data = sign(key, b"octets", {SHA256})
    with pytest.raises(AuthenticationFailed, match="1024 bits"):
        verify(key.public_key(), method, data, b"octets")
    verify(key.public_key(), method, data, b"octets", SignaturePolicy(least_rsa_bits=1024))


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("other", KEYS)
def test_a_signature_of_another_kind_of_key_is_refused(name: str, other: str) -> None:
    if name == other:
        other = "p224"
    method, data = sign(private_key(name), b"octets", ALL)
    with pytest.raises(AuthenticationFailed, match=r"not for|wrong"):
        verify(private_key(other).public_key(), method, data, b"octets")


@pytest.mark.parametrize("name", ["p256", "p384", "ed25519"])
@pytest.mark.parametrize("method", [AuthMethod.RSA_SIGNATURE, AuthMethod.ECDSA_521])
def test_an_older_method_of_another_kind_of_key_is_refused(name: str, method: AuthMethod) -> None:
    with pytest.raises(AuthenticationFailed, match="not for"):
        verify(private_key(name).public_key(), method, bytes(132), b"octets")


@pytest.mark.parametrize("size", [0, 1, 63, 65, 96])
def test_halves_of_ecdsa_have_the_size_of_the_curve(size: int) -> None:
    with pytest.raises(AuthenticationFailed, match=f"{size} octets"):
        verify(private_key("p256").public_key(), AuthMethod.ECDSA_256, bytes(size), b"octets")


def test_a_zero_ecdsa_signature_is_refused() -> None:
    with pytest.raises(AuthenticationFailed, match="wrong"):
        verify(private_key("p256").public_key(), AuthMethod.ECDSA_256, bytes(64), b"octets")


@pytest.mark.parametrize("data", [b"", b"\0", b"\x0f", b"\xff" * 300, b"\x0f" + bytes(15), IDENTIFIERS["id-Ed25519"]])
def test_an_unknown_algorithm_is_refused(data: bytes) -> None:
    with pytest.raises(AuthenticationFailed, match="unknown algorithm"):
        verify(private_key("rsa").public_key(), AuthMethod.DIGITAL_SIGNATURE, data, b"octets")


@pytest.mark.parametrize("method", [AuthMethod.SHARED_KEY, AuthMethod.NULL, AuthMethod(200)])
def test_other_methods_are_no_signatures(method: AuthMethod) -> None:
    with pytest.raises(AuthenticationFailed, match=method.name):
        verify(private_key("rsa").public_key(), method, b"data", b"octets")


def test_hashes_are_announced_and_understood() -> None:
    assert announce_hashes().hex() == "0004" + "0003" + "0002" + "0005"
    assert announced_hashes(announce_hashes()) == ALL - {SHA1}
    assert announced_hashes(b"") == frozenset()
    assert announced_hashes(bytes.fromhex("00010063ffff0002")) == {SHA1, SHA256}
    with pytest.raises(InvalidSyntax, match="half"):
        announced_hashes(b"\0\2\0")
