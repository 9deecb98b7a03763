"""Key exchange: published vectors, agreement of two sides, and public values that must be refused."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ikeclone.crypto.kex import encapsulate, generate, supported
from ikeclone.crypto.modp import prime
from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import KeMethod

VECTORS = Path(__file__).parents[2] / "vectors"
PUBLISHED = json.loads((VECTORS / "key_exchange.json").read_text())
EXCHANGES, ML_KEMS = PUBLISHED["vectors"], PUBLISHED["ml_kem"]["vectors"]
PRIMES = json.loads((VECTORS / "modp.json").read_text())["primes"]
METHODS = [method for method in KeMethod if supported(method)]
DIFFIE_HELLMAN = [KeMethod.MODP_2048, KeMethod.ECP_256, KeMethod.BRAINPOOL_P512, KeMethod.CURVE25519, KeMethod.CURVE448]


def fixed(method: str, private: str) -> Callable[[int], bytes]:
    """The random octets that make `generate` come to a given private value."""
    if not method.startswith(("ECP", "BRAINPOOL")):
        return lambda size: bytes.fromhex(private).rjust(size, b"\0")
    # An elliptic curve's private value is (random mod (order - 1)) + 1.
    return lambda size: (int(private, 16) - 1).to_bytes(size)


@pytest.mark.parametrize("vector", EXCHANGES, ids=lambda vector: vector["method"])
def test_vectors(vector: dict[str, Any]) -> None:
    name = vector["method"]
    for us, them in (("i", "r"), ("r", "i")):
        pair = generate(KeMethod[name], fixed(name, vector[f"private_{us}"]))
        assert pair.public.hex() == vector[f"public_{us}"]
        assert pair.shared(bytes.fromhex(vector[f"public_{them}"])).hex() == vector["shared"]


@pytest.mark.parametrize("vector", ML_KEMS, ids=lambda vector: vector["method"])
def test_ml_kem_seeds(vector: dict[str, str]) -> None:
    seed = bytes.fromhex(vector["seed"])
    pair = generate(KeMethod[vector["method"]], lambda size: seed[:size])
    assert hashlib.sha3_256(pair.public).hexdigest() == vector["public_sha3_256"]


@pytest.mark.parametrize(("vector", "size"), list(zip(ML_KEMS, (1088, 1568), strict=True)))
def test_ml_kem_rejects_implicitly(vector: dict[str, str], size: int) -> None:
    """FIPS 203 section 6.3: the secret of a ciphertext that no one made is SHAKE256 of z and the ciphertext."""
    seed, forged = bytes.fromhex(vector["seed"]), bytes(size)
    pair = generate(KeMethod[vector["method"]], lambda size: seed[:size])
    assert pair.shared(forged) == hashlib.shake_256(seed[32:] + forged).digest(32)


@pytest.mark.parametrize("bits", PRIMES)
def test_modp_primes_are_those_of_the_rfc(bits: str) -> None:
    assert prime(int(bits)) == int(PRIMES[bits], 16)


@pytest.mark.parametrize("bits", [4096, 8192])
def test_modp_primes_without_a_vector_pass_fermats_test(bits: int) -> None:
    modulus = prime(bits)
    assert modulus.bit_length() == bits
    assert pow(3, modulus - 1, modulus) == 1


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_both_sides_agree(method: KeMethod) -> None:
    source = random.Random(method.value)
    pair = generate(method, source.randbytes)
    public, shared = encapsulate(method, pair.public, source.randbytes)
    assert public != pair.public
    assert pair.shared(public) == shared


@pytest.mark.parametrize("method", DIFFIE_HELLMAN, ids=lambda method: method.name)
def test_the_responder_of_diffie_hellman_makes_a_key_pair(method: KeMethod) -> None:
    theirs = generate(method, random.Random(1).randbytes)
    ours = generate(method, random.Random(2).randbytes)
    assert encapsulate(method, theirs.public, random.Random(2).randbytes) == (ours.public, ours.shared(theirs.public))


def test_modp_shared_secret_is_a_plain_power() -> None:
    octets = [b"\x05".rjust(64, b"\0"), b"\x07".rjust(72, b"\0")]
    pair = generate(KeMethod.MODP_2048, lambda size: octets.pop(0))
    assert pair.public == (2**5).to_bytes(256)
    assert pair.shared((3).to_bytes(256)) == (3**5).to_bytes(256)


def bad_values(method: KeMethod, public: bytes) -> list[bytes]:
    size = len(public)
    values = [b"", public[:-1], public + b"\0"]
    if method.name.startswith("MODP"):
        modulus = prime(size * 8)
        values += [number.to_bytes(size) for number in (0, 1, modulus - 1, modulus)] + [b"\xff" * size]
    elif method.name.startswith("ML_KEM"):
        values.append(b"\xff" * 3 + public[3:])  # a coefficient of 4095, the modulus is 3329
    else:
        values.append(bytes(size))
    if method.name.startswith(("ECP", "BRAINPOOL")):
        values.append(public[:-1] + bytes([public[-1] ^ 1]))
    return values


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_responder_refuses_bad_public_values(method: KeMethod) -> None:
    pair = generate(method, random.Random(1).randbytes)
    for value in bad_values(method, pair.public):
        with pytest.raises(InvalidSyntax, match=method.name):
            encapsulate(method, value, random.Random(2).randbytes)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_initiator_refuses_bad_public_values(method: KeMethod) -> None:
    source = random.Random(1)
    pair = generate(method, source.randbytes)
    public, _ = encapsulate(method, pair.public, source.randbytes)
    values = bad_values(method, public)
    for value in values[:3] if method.name.startswith("ML_KEM") else values:
        with pytest.raises(InvalidSyntax, match=method.name):
            pair.shared(value)


def test_a_key_pair_does_not_print_its_private_value() -> None:
    pair = generate(KeMethod.MODP_2048, lambda size: b"\xab" * size)
    assert "_exchange" not in repr(pair)
    assert "abab" not in repr(pair)
    assert not supported(KeMethod.MODP_1024)
