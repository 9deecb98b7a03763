"""Key exchange: published vectors, agreement of two sides, and public values that must be refused."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ikeclone.crypto.kex import generate, supported
from ikeclone.crypto.modp import prime
from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import KeMethod

VECTORS = Path(__file__).parents[2] / "vectors"
EXCHANGES = json.loads((VECTORS / "key_exchange.json").read_text())["vectors"]
PRIMES = json.loads((VECTORS / "modp.json").read_text())["primes"]
ORDERS = {"ECP_256": ec.SECP256R1(), "ECP_384": ec.SECP384R1(), "ECP_521": ec.SECP521R1()}
METHODS = [method for method in KeMethod if supported(method)]


def fixed(method: str, private: str) -> Callable[[int], bytes]:
    """The random octets that make `generate` come to a given private value."""
    if method not in ORDERS:
        return lambda size: bytes.fromhex(private).rjust(size, b"\0")
    # An ECP private value is (random mod (order - 1)) + 1.
    return lambda size: (int(private, 16) - 1).to_bytes(size)


@pytest.mark.parametrize("vector", EXCHANGES, ids=lambda vector: vector["method"])
def test_vectors(vector: dict[str, Any]) -> None:
    name = vector["method"]
    for us, them in (("i", "r"), ("r", "i")):
        pair = generate(KeMethod[name], fixed(name, vector[f"private_{us}"]))
        assert pair.public.hex() == vector[f"public_{us}"]
        assert pair.shared(bytes.fromhex(vector[f"public_{them}"])).hex() == vector["shared"]


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
    ours, theirs = generate(method, source.randbytes), generate(method, source.randbytes)
    assert ours.public != theirs.public
    assert ours.shared(theirs.public) == theirs.shared(ours.public)


def test_modp_shared_secret_is_a_plain_power() -> None:
    octets = [b"\x05".rjust(64, b"\0"), b"\x07".rjust(72, b"\0")]
    pair = generate(KeMethod.MODP_2048, lambda size: octets.pop(0))
    assert pair.public == (2**5).to_bytes(256)
    assert pair.shared((3).to_bytes(256)) == (3**5).to_bytes(256)


def bad_values(method: KeMethod, public: bytes) -> list[bytes]:
    size = len(public)
    values = [b"", bytes(size), public[:-1], public + b"\0"]
    if method.name.startswith("MODP"):
        modulus = prime(size * 8)
        values += [number.to_bytes(size) for number in (1, modulus - 1, modulus)] + [b"\xff" * size]
    elif method.name.startswith("ECP"):
        values.append(public[:-1] + bytes([public[-1] ^ 1]))
    return values


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_bad_public_values_are_refused(method: KeMethod) -> None:
    pair = generate(method, random.Random(1).randbytes)
    for value in bad_values(method, pair.public):
        with pytest.raises(InvalidSyntax, match=method.name):
            pair.shared(value)


def test_a_key_pair_does_not_print_its_private_value() -> None:
    pair = generate(KeMethod.MODP_2048, lambda size: b"\xab" * size)
    assert "_exchange" not in repr(pair)
    assert "abab" not in repr(pair)
    assert not supported(KeMethod.MODP_1024)
