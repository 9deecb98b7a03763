"""`authby=`, `leftauth=` and `rightauth=`: words, separated by commas, to ways to authenticate."""

from __future__ import annotations

from ikeclone.connection import Authby
from ikeclone.crypto.schemes import Kind
from ikeclone.crypto.signature import SignaturePolicy
from ikeclone.numbers import EapType, HashAlgorithm

_SHA2 = (HashAlgorithm.SHA2_512, HashAlgorithm.SHA2_384, HashAlgorithm.SHA2_256)
_HASHES = (*_SHA2, HashAlgorithm.IDENTITY, HashAlgorithm.SHA1)
_RSA, _PSS, _PKCS1 = (Kind.RSA_PSS, Kind.RSA_PKCS1), (Kind.RSA_PSS,), (Kind.RSA_PKCS1,)
_ECDSA, _EDDSA = (Kind.ECDSA,), (Kind.ED25519, Kind.ED448)
_KINDS = (*_RSA, *_ECDSA, *_EDDSA)

# The kinds of signature and the hashes that a word stands for; those of all words go together, as with Libreswan.
_SIGNATURES = {
    "rsasig": (_RSA, _SHA2),
    "rsa-sha1": (_PKCS1, (HashAlgorithm.SHA1,)),
    "rsa-sha2": (_PSS, _SHA2),
    "rsa-sha2_256": (_PSS, (HashAlgorithm.SHA2_256,)),
    "rsa-sha2_384": (_PSS, (HashAlgorithm.SHA2_384,)),
    "rsa-sha2_512": (_PSS, (HashAlgorithm.SHA2_512,)),
    "ecdsa": (_ECDSA, _SHA2),
    "ecdsa-sha2": (_ECDSA, _SHA2),
    "ecdsa-sha2_256": (_ECDSA, (HashAlgorithm.SHA2_256,)),
    "ecdsa-sha2_384": (_ECDSA, (HashAlgorithm.SHA2_384,)),
    "ecdsa-sha2_512": (_ECDSA, (HashAlgorithm.SHA2_512,)),
    "eddsa": (_EDDSA, (HashAlgorithm.IDENTITY,)),
    "pubkey": (_KINDS, (*_SHA2, HashAlgorithm.IDENTITY)),
}
_EAP = {"eap-mschapv2": EapType.MSCHAPV2, "eap-tls": EapType.TLS}
_OTHERS = ("secret", "null", *_EAP)


def parse_authby(text: str) -> Authby:
    """The ways that the words allow."""
    words = [word.strip().lower() for word in text.split(",")]
    for word in words:
        if word not in _SIGNATURES and word not in _OTHERS:
            raise ValueError(f"must be one or more of {', '.join((*_OTHERS, *_SIGNATURES))}, with commas between them")
    named = [_SIGNATURES[word] for word in words if word in _SIGNATURES]
    kinds = tuple(kind for kind in _KINDS if any(kind in each for each, _ in named))
    hashes = tuple(algorithm for algorithm in _HASHES if any(algorithm in each for _, each in named))
    policy = SignaturePolicy(hashes, kinds) if named else None
    methods = tuple(_EAP[word] for word in words if word in _EAP)
    return Authby("secret" in words, "null" in words, policy, methods)
