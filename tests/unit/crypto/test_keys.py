"""Key derivation against NIST's IKEv2 vectors, and what they do not cover against the RFC's formulas."""

import hashlib
import hmac
import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from ikeclone.backend import EspSuite
from ikeclone.crypto.keys import child_keys, ike_keys, psk_auth, rekeyed_ike_keys
from ikeclone.crypto.prf import prf, prf_plus
from ikeclone.crypto.suite import IkeSuite
from ikeclone.numbers import Encr, Integ, KeMethod, Prf

FILE = Path(__file__).parents[2] / "vectors/ikev2_kdf.json"
SHA1, SHA256 = json.loads(FILE.read_text())["vectors"]
CBC = IkeSuite(Encr.AES_CBC, 128, Integ.HMAC_SHA1_96, Prf.HMAC_SHA1, KeMethod.MODP_2048)
GCM = IkeSuite(Encr.AES_GCM_16, 128, Integ.NONE, Prf.HMAC_SHA2_256, KeMethod.MODP_2048)


def octets(vector: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


@pytest.mark.parametrize(("vector", "suite"), [(SHA1, CBC), (SHA256, GCM)], ids=["sha1", "sha256"])
def test_ike_keys(vector: dict[str, Any], suite: IkeSuite) -> None:
    shared, ni, nr, spi_i, spi_r, dkm = octets(vector, "shared", "ni", "nr", "spi_i", "spi_r", "dkm")
    keys = ike_keys(suite, shared, ni, nr, spi_i, spi_r)
    assert b"".join(astuple(keys))[: len(dkm)] == dkm


def test_ike_keys_are_cut_in_the_order_of_the_rfc() -> None:
    keys = ike_keys(CBC, *octets(SHA1, "shared", "ni", "nr", "spi_i", "spi_r"))
    assert [len(key) for key in astuple(keys)] == [20, 20, 20, 16, 16, 20, 20]
    assert len(b"".join(astuple(keys))) == len(SHA1["dkm"]) // 2
    aead = ike_keys(GCM, *octets(SHA256, "shared", "ni", "nr", "spi_i", "spi_r"))
    assert [len(key) for key in astuple(aead)] == [32, 0, 0, 20, 20, 32, 32]


@pytest.mark.parametrize(("vector", "suite"), [(SHA1, CBC), (SHA256, GCM)], ids=["sha1", "sha256"])
def test_rekeyed_ike_keys_start_from_the_old_sk_d(vector: dict[str, Any], suite: IkeSuite) -> None:
    shared, ni, nr, spi_i, spi_r, dkm = octets(vector, "shared_new", "ni", "nr", "spi_i", "spi_r", "dkm")
    old_sk_d, skeyseed = dkm[: len(vector["skeyseed"]) // 2], bytes.fromhex(vector["skeyseed_rekey"])
    keys = b"".join(astuple(rekeyed_ike_keys(suite, suite.prf, old_sk_d, shared, ni, nr, spi_i, spi_r)))
    assert keys == prf_plus(suite.prf, skeyseed, ni + nr + spi_i + spi_r, len(keys))


def test_rekeyed_ike_keys_use_the_old_prf_once_and_then_the_new() -> None:
    keys = rekeyed_ike_keys(GCM, Prf.HMAC_SHA1, b"d" * 20, b"shared", b"i" * 16, b"r" * 16, b"I" * 8, b"R" * 8)
    skeyseed = prf(Prf.HMAC_SHA1, b"d" * 20, b"shared" + b"i" * 16 + b"r" * 16)
    seed = b"i" * 16 + b"r" * 16 + b"I" * 8 + b"R" * 8
    assert keys.sk_d == prf_plus(Prf.HMAC_SHA2_256, skeyseed, seed, 32)


@pytest.mark.parametrize("name", ["dkm_child", "dkm_child_ke"])
def test_child_keys(name: str) -> None:
    ni, nr, new, dkm, expected = octets(SHA1, "ni", "nr", "shared_new", "dkm", name)
    shared = new if name == "dkm_child_ke" else b""
    suite = EspSuite(Encr.AES_CBC, 256, Integ.HMAC_SHA1_96)
    initiator, responder = child_keys(Prf.HMAC_SHA1, dkm[:20], suite, shared, ni, nr)
    keys = initiator.encryption + initiator.integrity + responder.encryption + responder.integrity
    assert [len(key) for key in (initiator.encryption, initiator.integrity)] == [32, 20]
    assert keys == expected[:104]


def test_child_keys_of_an_aead_end_with_its_salt() -> None:
    suite = EspSuite(Encr.CHACHA20_POLY1305, 256, Integ.NONE)
    initiator, responder = child_keys(Prf.HMAC_SHA2_256, b"d" * 32, suite, b"", b"i" * 16, b"r" * 16)
    assert (len(initiator.encryption), initiator.integrity) == (36, b"")
    assert initiator.encryption != responder.encryption


def test_psk_auth_is_what_section_2_15_says() -> None:
    def sha256(key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, hashlib.sha256).digest()

    auth = psk_auth(Prf.HMAC_SHA2_256, b"secret", b"message", b"nonce", b"sk_p", b"id")
    padded = sha256(b"secret", b"Key Pad for IKEv2")
    assert auth == sha256(padded, b"messagenonce" + sha256(b"sk_p", b"id"))


def test_keys_are_not_printed() -> None:
    keys = ike_keys(CBC, b"shared", b"i" * 16, b"r" * 16, b"I" * 8, b"R" * 8)
    assert repr(keys) == "IkeKeys()"
