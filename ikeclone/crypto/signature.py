"""Signatures of AUTH payloads: RFC 7427 with RSA and ECDSA, RFC 8420 with EdDSA, and the older methods.

The older ones are RSA_SIGNATURE (RFC 7296 section 3.8) and ECDSA_256, _384 and _521 (RFC 4754).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey, Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from ikeclone.crypto.schemes import SCHEMES, Kind, Scheme, algorithm_identifier, scheme_of
from ikeclone.errors import AuthenticationFailed, InvalidSyntax, LocalError
from ikeclone.numbers import AuthMethod, HashAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

_HASHES: dict[HashAlgorithm, hashes.HashAlgorithm] = {
    HashAlgorithm.SHA2_512: hashes.SHA512(),
    HashAlgorithm.SHA2_384: hashes.SHA384(),
    HashAlgorithm.SHA2_256: hashes.SHA256(),
    HashAlgorithm.SHA1: hashes.SHA1(),  # noqa: S303 - only where a policy names it
}
# The older methods: curve, hash, and octets of each half of a signature.
_CURVES = {
    "secp256r1": (AuthMethod.ECDSA_256, HashAlgorithm.SHA2_256, 32),
    "secp384r1": (AuthMethod.ECDSA_384, HashAlgorithm.SHA2_384, 48),
    "secp521r1": (AuthMethod.ECDSA_521, HashAlgorithm.SHA2_512, 66),
}
_SHA2_OF_BITS = {256: HashAlgorithm.SHA2_256, 384: HashAlgorithm.SHA2_384}
_LEAST_CURVE_BITS = 256


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """What is accepted of peers and used towards them.

    The defaults are those of RFC 8247 section 4: no SHA-1, RSA keys of 2048 bits or more. RSA signs with the padding
    that `kinds` names first.
    """

    hashes: tuple[HashAlgorithm, ...] = (
        HashAlgorithm.SHA2_512,
        HashAlgorithm.SHA2_384,
        HashAlgorithm.SHA2_256,
        HashAlgorithm.IDENTITY,
    )
    kinds: tuple[Kind, ...] = (Kind.RSA_PSS, Kind.RSA_PKCS1, Kind.ECDSA, Kind.ED25519, Kind.ED448)
    least_rsa_bits: int = 2048


DEFAULT_POLICY = SignaturePolicy()


def announce_hashes(policy: SignaturePolicy = DEFAULT_POLICY) -> bytes:
    """The data of the notify SIGNATURE_HASH_ALGORITHMS (RFC 7427 section 4)."""
    return b"".join(algorithm.to_bytes(2) for algorithm in policy.hashes)


def announced_hashes(data: bytes) -> frozenset[HashAlgorithm]:
    """The hashes that a peer's SIGNATURE_HASH_ALGORITHMS names; raises InvalidSyntax if cut short."""
    if len(data) % 2:
        raise InvalidSyntax("half a hash algorithm")
    known = {algorithm.to_bytes(2): algorithm for algorithm in HashAlgorithm}
    parts = (data[start : start + 2] for start in range(0, len(data), 2))
    return frozenset(known[part] for part in parts if part in known)


def sign(
    key: PrivateKey,
    octets: bytes,
    peer_hashes: Collection[HashAlgorithm] | None,
    policy: SignaturePolicy = DEFAULT_POLICY,
) -> tuple[AuthMethod, bytes]:
    """Method and data of the AUTH payload over `octets`.

    `peer_hashes` is what the peer announced, None if it did not: then, or without a hash in common, an older method
    signs. Salts and nonces come from the `cryptography` package. Raises LocalError if no method suits the key, the
    peer and the policy.
    """
    scheme = _choose(key, peer_hashes or (), policy)
    if scheme is None:
        return _sign_older(key, octets, policy)
    identifier = algorithm_identifier(scheme)
    return AuthMethod.DIGITAL_SIGNATURE, bytes([len(identifier)]) + identifier + _sign(key, scheme, octets)


def verify(
    key: PublicKey, method: AuthMethod, data: bytes, octets: bytes, policy: SignaturePolicy = DEFAULT_POLICY
) -> None:
    """Check the AUTH payload of a peer against the octets that it signs.

    Raises AuthenticationFailed if it is wrong, not for this key, or not to the policy's liking.
    """
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < policy.least_rsa_bits:
        raise AuthenticationFailed(f"the peer's RSA key has {key.key_size} bits, fewer than {policy.least_rsa_bits}")
    match method:
        case AuthMethod.DIGITAL_SIGNATURE:
            scheme, signature = _split(data)
            _verify(key, scheme, signature, octets, policy)
        case AuthMethod.RSA_SIGNATURE:
            _verify_rsa_of_unknown_hash(key, data, octets, policy)
        case AuthMethod.ECDSA_256 | AuthMethod.ECDSA_384 | AuthMethod.ECDSA_521:
            _verify_older_ecdsa(key, method, data, octets, policy)
        case _:
            raise AuthenticationFailed(f"the peer authenticates with {method.name}, not a signature")


def _split(data: bytes) -> tuple[Scheme, bytes]:
    """Scheme and signature: length of the AlgorithmIdentifier, itself, signature (RFC 7427 section 3)."""
    end = 1 + data[0] if data else 0
    scheme = scheme_of(data[1:end])
    if scheme is None:
        raise AuthenticationFailed("the peer signs with an unknown algorithm")
    return scheme, data[end:]


def _choose(key: PrivateKey, peer_hashes: Collection[HashAlgorithm], policy: SignaturePolicy) -> Scheme | None:
    """The scheme for a key: with the hash of an elliptic curve's size if possible, else the policy's first one."""
    common = [algorithm for algorithm in policy.hashes if algorithm in peer_hashes]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        fitting = _SHA2_OF_BITS.get(key.key_size, HashAlgorithm.SHA2_512)
        common.sort(key=lambda algorithm: algorithm != fitting)
    candidates = (Scheme(kind, algorithm) for kind in policy.kinds for algorithm in common)
    return next((scheme for scheme in candidates if scheme in SCHEMES and _suits(key, scheme)), None)


def _suits(key: PrivateKey | PublicKey, scheme: Scheme) -> bool:
    match key:
        case rsa.RSAPrivateKey() | rsa.RSAPublicKey():
            return scheme.kind in (Kind.RSA_PKCS1, Kind.RSA_PSS)
        case ec.EllipticCurvePrivateKey() | ec.EllipticCurvePublicKey():
            return scheme.kind is Kind.ECDSA and key.key_size >= _LEAST_CURVE_BITS
        case Ed25519PrivateKey() | Ed25519PublicKey():
            return scheme.kind is Kind.ED25519
        case _:
            return scheme.kind is Kind.ED448


def _sign(key: PrivateKey, scheme: Scheme, octets: bytes) -> bytes:
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(octets, _padding(scheme), _HASHES[scheme.hash])
        case ec.EllipticCurvePrivateKey():
            return key.sign(octets, ec.ECDSA(_HASHES[scheme.hash]))
        case _:
            return key.sign(octets)


def _padding(scheme: Scheme) -> padding.PKCS1v15 | padding.PSS:
    if scheme.kind is Kind.RSA_PKCS1:
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(_HASHES[scheme.hash]), padding.PSS.DIGEST_LENGTH)


def _sign_older(key: PrivateKey, octets: bytes, policy: SignaturePolicy) -> tuple[AuthMethod, bytes]:
    """RSA signs with SHA-1, which RFC 7296 section 3.8 asks for, where the policy allows it, else with SHA-2."""
    if _curve(key) in _CURVES:
        method, algorithm, size = _CURVES[_curve(key)]
        signature = _sign_if_allowed(key, Scheme(Kind.ECDSA, algorithm), octets, policy)
        return method, b"".join(number.to_bytes(size) for number in decode_dss_signature(signature))
    return AuthMethod.RSA_SIGNATURE, _sign_if_allowed(key, _oldest_rsa(policy), octets, policy)


def _sign_if_allowed(key: PrivateKey, scheme: Scheme, octets: bytes, policy: SignaturePolicy) -> bytes:
    if not _allowed(scheme, policy) or not _suits(key, scheme):
        raise LocalError("the peer verifies no signature that our key may make: see authby= and the kind of the key")
    return _sign(key, scheme, octets)


def _allowed(scheme: Scheme, policy: SignaturePolicy) -> bool:
    return scheme.kind in policy.kinds and scheme.hash in policy.hashes


def _oldest_rsa(policy: SignaturePolicy) -> Scheme:
    oldest = min((algorithm for algorithm in policy.hashes if algorithm in _HASHES), default=HashAlgorithm.SHA1)
    return Scheme(Kind.RSA_PKCS1, oldest)


def _verify(key: PublicKey, scheme: Scheme, signature: bytes, octets: bytes, policy: SignaturePolicy) -> None:
    if not _allowed(scheme, policy):
        raise AuthenticationFailed(f"the peer signs with {scheme}, which is not allowed")
    if not _suits(key, scheme):
        raise AuthenticationFailed(f"the peer signs with {scheme}, which its key is not for")
    try:
        match key:
            case rsa.RSAPublicKey():
                key.verify(signature, octets, _padding(scheme), _HASHES[scheme.hash])
            case ec.EllipticCurvePublicKey():
                key.verify(signature, octets, ec.ECDSA(_HASHES[scheme.hash]))
            case _:
                key.verify(signature, octets)
    except InvalidSignature as error:
        raise AuthenticationFailed(f"the peer's signature, {scheme}, is wrong") from error


def _verify_rsa_of_unknown_hash(key: PublicKey, signature: bytes, octets: bytes, policy: SignaturePolicy) -> None:
    """RSA_SIGNATURE does not name its hash, the signature does: one of those that are allowed must fit."""
    if not isinstance(key, rsa.RSAPublicKey):
        raise AuthenticationFailed("the peer signs with RSA, which its key is not for")
    for algorithm in policy.hashes:
        if algorithm in _HASHES:
            try:
                return _verify(key, Scheme(Kind.RSA_PKCS1, algorithm), signature, octets, policy)
            except AuthenticationFailed:
                continue
    raise AuthenticationFailed("the peer's RSA signature is wrong, or of a hash that is not allowed")


def _verify_older_ecdsa(
    key: PublicKey, method: AuthMethod, data: bytes, octets: bytes, policy: SignaturePolicy
) -> None:
    fitting, algorithm, size = _CURVES.get(_curve(key), (None, HashAlgorithm.IDENTITY, 0))
    if fitting is not method:
        raise AuthenticationFailed(f"the peer signs with {method.name}, which its key is not for")
    if len(data) != 2 * size:
        raise AuthenticationFailed(f"{method.name} of {len(data)} octets")
    signature = encode_dss_signature(int.from_bytes(data[:size]), int.from_bytes(data[size:]))
    _verify(key, Scheme(Kind.ECDSA, algorithm), signature, octets, policy)


def _curve(key: PrivateKey | PublicKey) -> str:
    return key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) else ""
