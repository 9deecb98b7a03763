"""Derivation of keys and of the preshared key's AUTH data (RFC 7296 sections 2.14 to 2.18)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ikeclone.backend import EspKeys, EspSuite
from ikeclone.crypto.cipher import integrity_key_size, key_sizes
from ikeclone.crypto.prf import prf, prf_plus, prf_size
from ikeclone.crypto.suite import IkeSuite
from ikeclone.numbers import Prf

_KEY_PAD = b"Key Pad for IKEv2"


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
    skeyseed = prf(suite.prf, ni + nr, shared)
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
) -> IkeKeys:
    """The keys of an IKE SA that replaces one; secret, nonces and SPIs are the new ones (section 2.18)."""
    skeyseed = prf(old_prf, old_sk_d, shared + ni + nr)
    return _cut(suite, skeyseed, ni + nr + spi_i + spi_r)


def _cut(suite: IkeSuite, skeyseed: bytes, seed: bytes) -> IkeKeys:
    prf_key = prf_size(suite.prf)
    integrity = integrity_key_size(suite.integrity)
    encryption = key_sizes(suite.encryption, suite.key_bits)
    sizes = (prf_key, integrity, integrity, encryption, encryption, prf_key, prf_key)
    return IkeKeys(*_split(prf_plus(suite.prf, skeyseed, seed, sum(sizes)), sizes))


def child_keys(
    function: Prf, sk_d: bytes, suite: EspSuite, shared: bytes, ni: bytes, nr: bytes
) -> tuple[EspKeys, EspKeys]:
    """The keys of a Child SA: initiator to responder, then responder to initiator (RFC 7296 section 2.17).

    `shared` is empty without a key exchange of its own. Initiator and nonces are those of the exchange that
    makes it.
    """
    sizes = (key_sizes(suite.encryption, suite.key_bits), integrity_key_size(suite.integrity)) * 2
    parts = _split(prf_plus(function, sk_d, shared + ni + nr, sum(sizes)), sizes)
    return EspKeys(*parts[:2]), EspKeys(*parts[2:])


def _split(stream: bytes, sizes: tuple[int, ...]) -> list[bytes]:
    parts, start = [], 0
    for size in sizes:
        parts.append(stream[start : start + size])
        start += size
    return parts


def psk_auth(function: Prf, psk: bytes, message: bytes, nonce: bytes, sk_p: bytes, id_body: bytes) -> bytes:
    """AUTH data of the method SHARED_KEY (RFC 7296 section 2.15).

    `message` is the signer's first message as sent, `nonce` the other side's, `sk_p` and `id_body` (the body
    of its ID payload) the signer's.
    """
    signed = message + nonce + prf(function, sk_p, id_body)
    return prf(function, prf(function, psk, _KEY_PAD), signed)
