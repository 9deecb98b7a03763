"""Key derivation against NIST's IKEv2 vectors, and what they do not cover against the RFC's formulas."""

import hashlib
import hmac
import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

from ikeclone.backend import EspSuite
from ikeclone.crypto.keys import (
    child_keys,
    ike_keys,
    intermediate_ike_keys,
    mix_ppk,
    psk_auth,
    rekeyed_ike_keys,
    signed_octets,
)
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


@pytest.mark.parametrize("function", [Prf.AES128_XCBC, Prf.AES128_CMAC], ids=lambda function: function.name)
def test_aes_prfs_key_their_skeyseed_with_half_of_each_short_nonce(function: Prf) -> None:
    suite = IkeSuite(Encr.AES_CBC, 128, Integ.AES_XCBC_96, function, KeMethod.CURVE25519)
    ni, nr = bytes(range(16)), bytes(range(16, 48))
    keys = ike_keys(suite, b"shared", ni, nr, b"I" * 8, b"R" * 8)
    skeyseed = prf(function, ni[:8] + nr[:8], b"shared")
    assert b"".join(astuple(keys)) == prf_plus(function, skeyseed, ni + nr + b"I" * 8 + b"R" * 8, 7 * 16)


def test_additional_key_exchanges_come_after_the_nonces() -> None:
    """RFC 9370 section 2.2.4."""
    rest = b"i" * 16, b"r" * 16, b"I" * 8, b"R" * 8
    keys = rekeyed_ike_keys(GCM, Prf.HMAC_SHA2_256, b"d" * 32, b"SK(0)", *rest, additional=b"SK(1)SK(2)")
    skeyseed = prf(Prf.HMAC_SHA2_256, b"d" * 32, b"SK(0)" + b"i" * 16 + b"r" * 16 + b"SK(1)SK(2)")
    assert keys.sk_d == prf_plus(Prf.HMAC_SHA2_256, skeyseed, b"".join(rest), 32)

    suite = EspSuite(Encr.AES_GCM_16, 256, Integ.NONE)
    child, _ = child_keys(Prf.HMAC_SHA2_256, b"d" * 32, suite, b"SK(0)", b"i" * 16, b"r" * 16, b"SK(1)")
    seed = b"SK(0)" + b"i" * 16 + b"r" * 16 + b"SK(1)"
    assert child.encryption == prf_plus(Prf.HMAC_SHA2_256, b"d" * 32, seed, 36)


def test_an_intermediate_exchange_starts_from_the_sk_d_before() -> None:
    """RFC 9370 section 2.2.2."""
    rest = b"i" * 16, b"r" * 16, b"I" * 8, b"R" * 8
    keys = intermediate_ike_keys(GCM, b"d" * 32, b"SK(1)", *rest)
    skeyseed = prf(Prf.HMAC_SHA2_256, b"d" * 32, b"SK(1)" + b"i" * 16 + b"r" * 16)
    assert keys.sk_d == prf_plus(Prf.HMAC_SHA2_256, skeyseed, b"".join(rest), 32)


def test_a_ppk_changes_what_authenticates_and_derives_only() -> None:
    """RFC 8784 section 3."""
    keys = ike_keys(GCM, b"shared", b"i" * 16, b"r" * 16, b"I" * 8, b"R" * 8)
    mixed = mix_ppk(Prf.HMAC_SHA2_256, b"ppk", keys)
    for name in ("sk_d", "sk_pi", "sk_pr"):
        assert getattr(mixed, name) == prf_plus(Prf.HMAC_SHA2_256, b"ppk", getattr(keys, name), 32)
    assert (mixed.sk_ei, mixed.sk_er, mixed.sk_ai, mixed.sk_ar) == (keys.sk_ei, keys.sk_er, keys.sk_ai, keys.sk_ar)


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


def test_intermediate_exchanges_are_signed_last() -> None:
    """RFC 9242 section 3.3.2."""
    signed = signed_octets(Prf.HMAC_SHA2_256, b"message", b"nonce", b"sk_p", b"id", b"IntAuth")
    assert signed == b"messagenonce" + prf(Prf.HMAC_SHA2_256, b"sk_p", b"id") + b"IntAuth"


def test_keys_are_not_printed() -> None:
    keys = ike_keys(CBC, b"shared", b"i" * 16, b"r" * 16, b"I" * 8, b"R" * 8)
    assert repr(keys) == "IkeKeys()"
