"""Published vectors of HMAC and AES; prf+ itself is checked against NIST's vectors in test_keys.py."""

import json
from pathlib import Path

import pytest

from ikeclone.crypto.algorithms import MacFunction
from ikeclone.crypto.mac import mac
from ikeclone.crypto.prf import prf, prf_plus, prf_size
from ikeclone.numbers import Prf

FOLDER = Path(__file__).parents[2] / "vectors"
VECTORS = json.loads((FOLDER / "hmac.json").read_text())["vectors"]
AES = json.loads((FOLDER / "aes_mac.json").read_text())["vectors"]
PRFS = (Prf.HMAC_SHA1, Prf.HMAC_SHA2_256, Prf.HMAC_SHA2_384, Prf.HMAC_SHA2_512)


@pytest.mark.parametrize("function", PRFS, ids=lambda function: function.name)
def test_prf_vectors(function: Prf) -> None:
    found = [vector for vector in VECTORS if function.name in vector]
    assert found
    for vector in found:
        output = prf(function, bytes.fromhex(vector["key"]), bytes.fromhex(vector["data"]))
        assert output.hex() == vector[function.name], vector["case"]
        assert len(output) == prf_size(function)


@pytest.mark.parametrize("vector", AES, ids=lambda vector: vector["case"])
def test_aes_prf_vectors(vector: dict[str, str]) -> None:
    function = Prf[vector["function"]]
    output = prf(function, bytes.fromhex(vector["key"]), bytes.fromhex(vector["data"]))
    assert output.hex() == vector["output"]
    assert len(output) == prf_size(function)


@pytest.mark.parametrize("function", [MacFunction.AES_XCBC, MacFunction.AES_CMAC], ids=lambda function: function.name)
def test_aes_integrity_takes_keys_of_128_bits_only(function: MacFunction) -> None:
    for size in (0, 15, 17, 24, 32):
        with pytest.raises(ValueError, match=f"{size} octets"):
            mac(function, bytes(size), b"data")


def test_prf_plus_feeds_each_block_into_the_next() -> None:
    first = prf(Prf.HMAC_SHA2_256, b"key", b"seed\x01")
    second = prf(Prf.HMAC_SHA2_256, b"key", first + b"seed\x02")
    assert prf_plus(Prf.HMAC_SHA2_256, b"key", b"seed", 40) == first + second[:8]


def test_prf_plus_ends_where_its_counter_does() -> None:
    assert len(prf_plus(Prf.HMAC_SHA1, b"key", b"seed", 255 * 20)) == 5100
    with pytest.raises(ValueError, match="range"):
        prf_plus(Prf.HMAC_SHA1, b"key", b"seed", 255 * 20 + 1)
