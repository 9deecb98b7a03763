"""Key exchange methods: RFC 3526 (MODP), RFC 5903 (ECP), RFC 6954 (Brainpool), RFC 8031 (Curve25519, Curve448) and
ML-KEM (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem).

The initiator of an exchange calls `generate`, sends `KeyPair.public` and puts what comes back into `KeyPair.shared`.
The responder calls `encapsulate` with what it got, and sends the first of its two results. That way one and the same
code serves Diffie-Hellman and key encapsulation, alone or one after the other (RFC 9370).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x448 import X448PrivateKey, X448PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ikeclone.crypto.modp import ModpKey
from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import KeMethod

Random = Callable[[int], bytes]
Exchange = Callable[[bytes], bytes]

_UNCOMPRESSED = b"\x04"
_MODP_BITS = {
    KeMethod.MODP_2048: 2048,
    KeMethod.MODP_3072: 3072,
    KeMethod.MODP_4096: 4096,
    KeMethod.MODP_6144: 6144,
    KeMethod.MODP_8192: 8192,
}
_CURVES: dict[KeMethod, ec.EllipticCurve] = {
    KeMethod.ECP_256: ec.SECP256R1(),
    KeMethod.ECP_384: ec.SECP384R1(),
    KeMethod.ECP_521: ec.SECP521R1(),
    KeMethod.BRAINPOOL_P256: ec.BrainpoolP256R1(),
    KeMethod.BRAINPOOL_P384: ec.BrainpoolP384R1(),
    KeMethod.BRAINPOOL_P512: ec.BrainpoolP512R1(),
}
_DecapsulationKey = type[MLKEM768PrivateKey | MLKEM1024PrivateKey]
_EncapsulationKey = type[MLKEM768PublicKey | MLKEM1024PublicKey]
_ML_KEMS: dict[KeMethod, tuple[_DecapsulationKey, _EncapsulationKey]] = {
    KeMethod.ML_KEM_768: (MLKEM768PrivateKey, MLKEM768PublicKey),
    KeMethod.ML_KEM_1024: (MLKEM1024PrivateKey, MLKEM1024PublicKey),
}
_ML_KEM_SEED_SIZE = 64  # d and z of FIPS 203 section 7.1


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The initiator's key pair for one exchange; `public` is what its KE payload carries."""

    method: KeMethod
    public: bytes
    _exchange: Exchange = field(repr=False, compare=False)

    def shared(self, peer: bytes) -> bytes:
        """The shared secret with the responder's public value, which is a ciphertext with ML-KEM.

        Raises InvalidSyntax if that is off the curve, out of range, of small order (RFC 6989, RFC 7748 section 6)
        or not of the ciphertext's size. A forged ciphertext of the right size makes a secret that no one shares.
        """
        with _checking(self.method):
            return self._exchange(peer)


def supported(method: KeMethod) -> bool:
    """Whether `generate` knows the method."""
    return method in _GENERATORS


def generate(method: KeMethod, random: Random) -> KeyPair:
    """A fresh key pair of a supported method; `random` gives that many random octets."""
    return KeyPair(method, *_GENERATORS[method](random))


def encapsulate(method: KeMethod, peer: bytes, random: Random) -> tuple[bytes, bytes]:
    """The responder's side: the octets of its KE payload, and the shared secret with the initiator's public value.

    ML-KEM leaves `random` alone: the `cryptography` package draws the 32 octets of an encapsulation by itself and
    cannot be given them. Raises InvalidSyntax as `KeyPair.shared` does; with ML-KEM if the public value is not a
    reduced one (FIPS 203 section 7.2).
    """
    if method in _ML_KEMS:
        _, public_key = _ML_KEMS[method]
        with _checking(method):
            secret, ciphertext = public_key.from_public_bytes(peer).encapsulate()
        return ciphertext, secret
    pair = generate(method, random)
    return pair.public, pair.shared(peer)


@contextmanager
def _checking(method: KeMethod) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise InvalidSyntax(f"not a public value of {method.name}") from error


def _ml_kem(key: _DecapsulationKey, random: Random) -> tuple[bytes, Exchange]:
    private = key.from_seed_bytes(random(_ML_KEM_SEED_SIZE))
    return private.public_key().public_bytes_raw(), private.decapsulate


def _curve25519(random: Random) -> tuple[bytes, Exchange]:
    private = X25519PrivateKey.from_private_bytes(random(32))
    public = private.public_key().public_bytes_raw()
    return public, lambda peer: private.exchange(X25519PublicKey.from_public_bytes(peer))


def _curve448(random: Random) -> tuple[bytes, Exchange]:
    private = X448PrivateKey.from_private_bytes(random(56))
    public = private.public_key().public_bytes_raw()
    return public, lambda peer: private.exchange(X448PublicKey.from_public_bytes(peer))


def _ecp(curve: ec.EllipticCurve, random: Random) -> tuple[bytes, Exchange]:
    """RFC 5903 section 7: public values are x and y, the shared secret is x alone."""
    size = (curve.key_size + 7) // 8
    # 64 bits more than the group order leave no bias to speak of (FIPS 186-5 appendix A.2.1).
    number = int.from_bytes(random(size + 8)) % (curve.group_order - 1) + 1
    private = ec.derive_private_key(number, curve)
    numbers = private.public_key().public_numbers()

    def exchange(peer: bytes) -> bytes:
        point = ec.EllipticCurvePublicKey.from_encoded_point(curve, _UNCOMPRESSED + peer)
        return private.exchange(ec.ECDH(), point)

    return numbers.x.to_bytes(size) + numbers.y.to_bytes(size), exchange


def _modp(bits: int, random: Random) -> tuple[bytes, Exchange]:
    key = ModpKey.generate(bits, random)
    return key.public(), key.shared


_GENERATORS: dict[KeMethod, Callable[[Random], tuple[bytes, Exchange]]] = {
    KeMethod.CURVE25519: _curve25519,
    KeMethod.CURVE448: _curve448,
    **{method: partial(_ecp, curve) for method, curve in _CURVES.items()},
    **{method: partial(_modp, bits) for method, bits in _MODP_BITS.items()},
    **{method: partial(_ml_kem, key) for method, (key, _) in _ML_KEMS.items()},
}
