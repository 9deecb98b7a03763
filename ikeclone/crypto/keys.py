"""Derivation of keys, and what AUTH payloads sign (RFC 7296 sections 2.14 to 2.18, RFC 8784, RFC 9370)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ikeclone.backend import EspKeys, EspSuite
from ikeclone.crypto.cipher import integrity_key_size, key_sizes
from ikeclone.crypto.prf import prf, prf_plus, prf_size
from ikeclone.crypto.suite import IkeSuite
from ikeclone.numbers import Prf

_KEY_PAD = b"Key Pad for IKEv2"
# RFC 7296 section 2.14: these key their SKEYSEED with 64 bits of each nonce.
_SHORT_KEYED = (Prf.AES128_XCBC, Prf.AES128_CMAC)
_NONCE_HALF = 8


@dataclass(frozen=True, slots=True)
class IkeKeys:
    """The keys of an IKE SA (RFC 7296 section 2.14); i is the initiator's direction, r the responder's."""

    sk_d: bytes = field(repr=False)
    sk_ai: bytes = field(repr=False)
    sk_ar: bytes = field(repr=False)
    sk_ei: bytes = field(repr=False)
    sk_er: bytes = field(repr=False)
    sk_pi: bytes = field(repr=False)
    sk_pr: bytes = field(repr=False)


def ike_keys(suite: IkeSuite, shared: bytes, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes) -> IkeKeys:
    """The keys of a new IKE SA, from the shared secret g^ir, the nonces and the SPIs of IKE_SA_INIT."""
    half = _NONCE_HALF if suite.prf in _SHORT_KEYED else None
    skeyseed = prf(suite.prf, ni[:half] + nr[:half], shared)
    return _cut(suite, skeyseed, ni + nr + spi_i + spi_r)


def rekeyed_ike_keys(
    suite: IkeSuite,
    old_prf: Prf,
    old_sk_d: bytes,
    shared: bytes,
    ni: bytes,
    nr: bytes,
    spi_i: bytes,
    spi_r: bytes,
    additional: bytes = b"",
) -> IkeKeys:
    """The keys of an IKE SA that replaces one; secret, nonces and SPIs are the new ones (section 2.18).

    `additional` is the shared secrets of additional key exchanges, one after the other (RFC 9370 section 2.2.4).
    """
    skeyseed = prf(old_prf, old_sk_d, shared + ni + nr + additional)
    return _cut(suite, skeyseed, ni + nr + spi_i + spi_r)


def intermediate_ike_keys(
    suite: IkeSuite, sk_d: bytes, shared: bytes, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes
) -> IkeKeys:
    """The keys after an additional key exchange in IKE_INTERMEDIATE (RFC 9370 section 2.2.2).

    `sk_d` is that of the keys before, `shared` the exchange's secret; nonces and SPIs are those of IKE_SA_INIT.
    """
    return rekeyed_ike_keys(suite, suite.prf, sk_d, shared, ni, nr, spi_i, spi_r)


def resumed_ike_keys(suite: IkeSuite, sk_d: bytes, ni: bytes, nr: bytes, spi_i: bytes, spi_r: bytes) -> IkeKeys:
    """The keys of an IKE SA that resumes one; `sk_d` is that one's, all else the new one's (RFC 5723 section 5.1)."""
    return _cut(suite, prf(suite.prf, sk_d, b"Resumption" + ni + nr), ni + nr + spi_i + spi_r)


def mix_ppk(function: Prf, ppk: bytes, keys: IkeKeys) -> IkeKeys:
    """The keys with a postquantum preshared key in SK_d, SK_pi and SK_pr (RFC 8784 section 3)."""

    def mixed(key: bytes) -> bytes:
        return prf_plus(function, ppk, key, prf_size(function))

    return replace(keys, sk_d=mixed(keys.sk_d), sk_pi=mixed(keys.sk_pi), sk_pr=mixed(keys.sk_pr))


def _cut(suite: IkeSuite, skeyseed: bytes, seed: bytes) -> IkeKeys:
    prf_key = prf_size(suite.prf)
    integrity = integrity_key_size(suite.integrity)
    encryption = key_sizes(suite.encryption, suite.key_bits)
    sizes = (prf_key, integrity, integrity, encryption, encryption, prf_key, prf_key)
    return IkeKeys(*_split(prf_plus(suite.prf, skeyseed, seed, sum(sizes)), sizes))


def child_keys(
    function: Prf, sk_d: bytes, suite: EspSuite, shared: bytes, ni: bytes, nr: bytes, additional: bytes = b""
) -> tuple[EspKeys, EspKeys]:
    """The keys of a Child SA: initiator to responder, then responder to initiator (RFC 7296 section 2.17).

    `shared` is empty without a key exchange of its own; `additional` as in `rekeyed_ike_keys`. Initiator and nonces
    are those of the exchange that makes it.
    """
    sizes = (key_sizes(suite.encryption, suite.key_bits), integrity_key_size(suite.integrity)) * 2
    parts = _split(prf_plus(function, sk_d, shared + ni + nr + additional, sum(sizes)), sizes)
    return EspKeys(*parts[:2]), EspKeys(*parts[2:])


def _split(stream: bytes, sizes: tuple[int, ...]) -> list[bytes]:
    parts, start = [], 0
    for size in sizes:
        parts.append(stream[start : start + size])
        start += size
    return parts


def signed_octets(
    function: Prf, message: bytes, nonce: bytes, sk_p: bytes, id_body: bytes, intermediate: bytes = b""
) -> bytes:
    """What an AUTH payload signs (RFC 7296 section 2.15).

    `message` is the signer's first message as sent, `nonce` the other side's, `sk_p` and `id_body` (the body
    of its ID payload) the signer's. `intermediate` is IntAuth of RFC 9242 section 3.3.2, empty without that exchange.
    """
    return message + nonce + prf(function, sk_p, id_body) + intermediate


def psk_auth(
    function: Prf, psk: bytes, message: bytes, nonce: bytes, sk_p: bytes, id_body: bytes, intermediate: bytes = b""
) -> bytes:
    """AUTH data of the method SHARED_KEY over `signed_octets` of the other arguments."""
    octets = signed_octets(function, message, nonce, sk_p, id_body, intermediate)
    return prf(function, prf(function, psk, _KEY_PAD), octets)
