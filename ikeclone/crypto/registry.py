"""Proposals as `ike=` and `esp=` write them, in Libreswan's words and, where unambiguous, strongSwan's.

Commas separate proposals; `-`, `+` or `;` separate the words of one. Each word says by itself which
transforms it means: their order among types is free, and words of one type are alternatives in order of
preference. Case and underscores do not count: aes_gcm_16_256, AES_GCM256 and aes256gcm16 are the same.
Additional key exchanges (RFC 9370) are written addke1=ml_kem_768+ml_kem_1024 or ke1_mlkem768-ke1_mlkem1024.

What RFC 8247 says one MUST NOT use has no word here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ikeclone.crypto.algorithms import is_aead
from ikeclone.numbers import (
    Encr,
    Esn,
    Integ,
    KeMethod,
    OpenEnum,
    Prf,
    ProtocolId,
    TransformType,
    transform_id,
)
from ikeclone.wire.payloads import Proposal, Transform

Words = dict[str, tuple[Transform, ...]]
Defaults = Mapping[TransformType, tuple[Transform, ...]]

ADDITIONAL_TYPES = range(TransformType.ADDKE1, TransformType.ADDKE7 + 1)
_AES_BITS = (256, 192, 128)
# The braces stand for the key length; where they end the word it may be left out, to offer 256 and 128 bits.
_AES_WORDS = {
    Encr.AES_CBC: ("aes{}", "aescbc{}"),
    Encr.AES_CTR: ("aesctr{}", "aes{}ctr"),
    Encr.AES_CCM_8: ("aesccma{}", "aesccm8{}", "aes{}ccm8", "aes{}ccm64"),
    Encr.AES_CCM_12: ("aesccmb{}", "aesccm12{}", "aes{}ccm12", "aes{}ccm96"),
    Encr.AES_CCM_16: ("aesccm{}", "aesccmc{}", "aesccm16{}", "aes{}ccm16", "aes{}ccm128"),
    Encr.AES_GCM_8: ("aesgcma{}", "aesgcm8{}", "aes{}gcm8", "aes{}gcm64"),
    Encr.AES_GCM_12: ("aesgcmb{}", "aesgcm12{}", "aes{}gcm12", "aes{}gcm96"),
    Encr.AES_GCM_16: ("aesgcm{}", "aesgcmc{}", "aesgcm16{}", "aes{}gcm16", "aes{}gcm128"),
}
_HASH_WORDS = {
    ("sha1",): (Prf.HMAC_SHA1, Integ.HMAC_SHA1_96),
    ("aesxcbc",): (Prf.AES128_XCBC, Integ.AES_XCBC_96),
    ("aescmac",): (Prf.AES128_CMAC, Integ.AES_CMAC_96),
    ("sha2", "sha2256", "sha256"): (Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_256_128),
    ("sha2384", "sha384"): (Prf.HMAC_SHA2_384, Integ.HMAC_SHA2_384_192),
    ("sha2512", "sha512"): (Prf.HMAC_SHA2_512, Integ.HMAC_SHA2_512_256),
}
_KE_WORDS = {
    ("modp2048", "dh14"): KeMethod.MODP_2048,
    ("modp3072", "dh15"): KeMethod.MODP_3072,
    ("modp4096", "dh16"): KeMethod.MODP_4096,
    ("modp6144", "dh17"): KeMethod.MODP_6144,
    ("modp8192", "dh18"): KeMethod.MODP_8192,
    ("ecp256", "dh19"): KeMethod.ECP_256,
    ("ecp384", "dh20"): KeMethod.ECP_384,
    ("ecp521", "dh21"): KeMethod.ECP_521,
    ("ecp256bp", "dh28"): KeMethod.BRAINPOOL_P256,
    ("ecp384bp", "dh29"): KeMethod.BRAINPOOL_P384,
    ("ecp512bp", "dh30"): KeMethod.BRAINPOOL_P512,
    ("curve25519", "x25519", "dh31"): KeMethod.CURVE25519,
    ("curve448", "x448", "dh32"): KeMethod.CURVE448,
    ("mlkem768",): KeMethod.ML_KEM_768,
    ("mlkem1024",): KeMethod.ML_KEM_1024,
}


def _of(kind: TransformType, *ids: OpenEnum) -> tuple[Transform, ...]:
    return tuple(Transform(kind, number) for number in ids)


def _cipher_words() -> Words:
    words = {"chacha20poly1305": _of(TransformType.ENCR, Encr.CHACHA20_POLY1305)}
    for cipher, names in _AES_WORDS.items():
        sized = {bits: Transform(TransformType.ENCR, cipher, bits) for bits in _AES_BITS}
        for name in names:
            words |= {name.format(bits): (transform,) for bits, transform in sized.items()}
            if name.endswith("{}"):
                words[name.format("")] = sized[256], sized[128]
    return words


def _hash_words(*, with_prf: bool) -> Words:
    """In `ike=` a hash means PRF and integrity, but only one of them after `prf` or before the ICV's bits."""
    words = {"none": _of(TransformType.INTEG, Integ.NONE)}
    for names, (prf, integ) in _HASH_WORDS.items():
        integrity = _of(TransformType.INTEG, integ)
        both = _of(TransformType.PRF, prf) * with_prf + integrity
        icv_bits = integ.name.rpartition("_")[2]
        for name in names:
            words |= {name: both, name + icv_bits: integrity}
            if with_prf:
                words["prf" + name] = _of(TransformType.PRF, prf)
    return words


def _ke_words() -> Words:
    return {name: _of(TransformType.KE, method) for names, method in _KE_WORDS.items() for name in names}


_ADDITIONAL = re.compile("(?:add)?ke([1-7])=?([a-z].*)")
_ADDITIONAL_WORDS: Words = {**_ke_words(), "none": _of(TransformType.KE, KeMethod.NONE)}
IKE_WORDS: Words = {**_cipher_words(), **_hash_words(with_prf=True), **_ke_words()}
ESP_WORDS: Words = {
    **_cipher_words(),
    **_hash_words(with_prf=False),
    **_ke_words(),
    "null": _of(TransformType.ENCR, Encr.NULL),
    **dict.fromkeys(("esn", "sn=yes"), _of(TransformType.ESN, Esn.YES, Esn.NO)),
    **dict.fromkeys(("noesn", "sn=no"), _of(TransformType.ESN, Esn.NO)),
}

_INTEGRITIES = _of(TransformType.INTEG, Integ.HMAC_SHA2_512_256, Integ.HMAC_SHA2_256_128)
_IKE_DEFAULTS = {
    TransformType.PRF: _of(TransformType.PRF, Prf.HMAC_SHA2_512, Prf.HMAC_SHA2_384, Prf.HMAC_SHA2_256),
    TransformType.INTEG: _INTEGRITIES,
    TransformType.KE: _of(
        TransformType.KE,
        KeMethod.CURVE25519,
        KeMethod.ECP_256,
        KeMethod.ECP_384,
        KeMethod.ECP_521,
        KeMethod.MODP_4096,
        KeMethod.MODP_3072,
        KeMethod.MODP_2048,
    ),
}
_ESP_DEFAULTS = {TransformType.INTEG: _INTEGRITIES, TransformType.ESN: _of(TransformType.ESN, Esn.NO)}


def parse_ike(text: str) -> tuple[Proposal, ...]:
    """The proposals of `ike=`, numbered from 1; types that one leaves out get the default ones.

    Raises ValueError with the offending word and the words that are known.
    """
    return _parse(text, ProtocolId.IKE, IKE_WORDS, _IKE_DEFAULTS)


def parse_esp(text: str) -> tuple[Proposal, ...]:
    """The proposals of `esp=`, as `parse_ike`; key exchange and 64-bit sequence numbers only where named."""
    return _parse(text, ProtocolId.ESP, ESP_WORDS, _ESP_DEFAULTS)


def describe(proposal: Proposal) -> str:
    """A proposal in one word: AES_GCM_16_256+AES_GCM_16_128-HMAC_SHA2_512-CURVE25519."""
    kinds = sorted({transform.type for transform in proposal.transforms})
    parts = ("+".join(filter(None, map(_name, proposal.of_type(kind)))) for kind in kinds)
    return "-".join(filter(None, parts))


def _name(transform: Transform) -> str:
    """The name of a transform; nothing where it says that there is none."""
    if transform.type == TransformType.ESN:
        return "ESN" if transform.id == Esn.YES else ""
    number = transform_id(transform.type, transform.id)
    name = number.name if isinstance(number, OpenEnum) else f"{transform.type.name}_{number}"
    if name == "NONE":
        return ""
    if transform.type in ADDITIONAL_TYPES:
        return f"KE{transform.type - TransformType.ADDKE1 + 1}_{name}"
    return f"{name}_{transform.key_bits}" if transform.key_bits else name


def _parse(text: str, protocol: ProtocolId, words: Words, defaults: Defaults) -> tuple[Proposal, ...]:
    return tuple(
        Proposal(protocol, _complete(part, _look_up(part, words), defaults), number=number)
        for number, part in enumerate(map(str.strip, text.split(",")), 1)
    )


def _look_up(part: str, words: Words) -> tuple[Transform, ...]:
    """What a proposal's words mean, each transform once; explicit PRFs replace those that hashes imply."""
    names = _names(part)
    keys = [name.replace("_", "").removeprefix("hmac") for name in names]
    keys[1:] = ["none" if key == "null" else key for key in keys[1:]]  # null is a cipher where one is due
    meanings = [_meaning(key, words) for key in keys]
    for name, meaning in zip(names, meanings, strict=True):
        if not meaning:
            raise ValueError(f"unknown algorithm {name!r} in {part!r}; known are {_known(words)}")
    explicit = any(key.startswith("prf") for key in keys)
    transforms = (
        transform
        for key, meaning in zip(keys, meanings, strict=True)
        for transform in meaning
        if not explicit or key.startswith("prf") or transform.type != TransformType.PRF
    )
    return tuple(dict.fromkeys(transforms))


def _names(part: str) -> list[str]:
    """The words of a proposal, those joined by + after a `type=` each with it."""
    names = []
    for group in re.split("[-;]", part.lower()):
        kind, equals, rest = group.rpartition("=")
        names += [f"{kind.strip()}{equals}{name.strip()}" for name in rest.split("+")]
    return names


def _meaning(key: str, words: Words) -> tuple[Transform, ...]:
    """The transforms of a word, none if it is unknown."""
    additional = _ADDITIONAL.fullmatch(key)
    if not additional:
        return words.get(key, ())
    kind = TransformType(TransformType.ADDKE1 + int(additional[1]) - 1)
    return tuple(Transform(kind, transform.id) for transform in _ADDITIONAL_WORDS.get(additional[2], ()))


def _known(words: Words) -> str:
    """One word for each meaning, the first in its table."""
    first = {transforms: word for word, transforms in reversed(words.items())}
    return ", ".join(sorted(first.values()))


def _complete(part: str, found: Iterable[Transform], defaults: Defaults) -> tuple[Transform, ...]:
    """All transforms in order of type. An AEAD has a proposal without integrity (RFC 7296 section 3.3)."""
    kinds: dict[TransformType, list[Transform]] = {}
    for transform in found:
        kinds.setdefault(transform.type, []).append(transform)
    aead = {is_aead(Encr(transform.id)) for transform in kinds.get(TransformType.ENCR, ())}
    if not aead:
        raise ValueError(f"no cipher in {part!r}")
    if len(aead) > 1:
        raise ValueError(f"an AEAD with other ciphers in {part!r}; put a comma between them")
    merged: dict[TransformType, Iterable[Transform]] = {**defaults, **kinds}
    if True in aead:
        del merged[TransformType.INTEG]
    elif Transform(TransformType.INTEG, Integ.NONE) in merged[TransformType.INTEG]:
        raise ValueError(f"no integrity in {part!r}; only AEADs bring their own")
    alone = [kinds[kind][0].id for kind in kinds if kind in ADDITIONAL_TYPES and len(kinds[kind]) == 1]
    if any(alone.count(method) > 1 for method in alone if method != KeMethod.NONE):
        raise ValueError(f"additional key exchanges of one method in {part!r}; each must be another (RFC 9370)")
    return tuple(transform for kind in sorted(merged) for transform in merged[kind])


DEFAULT_IKE = parse_ike("aes_gcm256+chacha20_poly1305+aes_gcm128-ke1_mlkem768-ke1_none,aes256+aes128")
DEFAULT_ESP = parse_esp("aes_gcm256+chacha20_poly1305+aes_gcm128,aes256+aes128")
