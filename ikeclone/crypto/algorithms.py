"""The supported algorithms: their sizes in octets and the functions behind them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ikeclone.numbers import Encr, Integ, Prf


@dataclass(frozen=True, slots=True)
class CipherShape:
    """What a cipher looks like on the wire; `icv` 0 means that it needs an integrity transform beside it.

    The salt ends the key material (RFC 5282 section 7.1). `fixed_bits` is the length of a key that has only one,
    and no attribute to say so.
    """

    salt: int = 0
    iv: int = 0
    icv: int = 0
    block: int = 1
    fixed_bits: int = 0


CIPHERS = {
    Encr.NULL: CipherShape(),  # RFC 2410, ESP only
    Encr.AES_CBC: CipherShape(iv=16, block=16),  # RFC 3602
    Encr.AES_CTR: CipherShape(salt=4, iv=8),  # RFC 3686, RFC 5930
    Encr.AES_CCM_8: CipherShape(salt=3, iv=8, icv=8),  # RFC 4309, RFC 5282
    Encr.AES_CCM_12: CipherShape(salt=3, iv=8, icv=12),
    Encr.AES_CCM_16: CipherShape(salt=3, iv=8, icv=16),
    Encr.AES_GCM_8: CipherShape(salt=4, iv=8, icv=8),  # RFC 4106, RFC 5282
    Encr.AES_GCM_12: CipherShape(salt=4, iv=8, icv=12),
    Encr.AES_GCM_16: CipherShape(salt=4, iv=8, icv=16),
    Encr.CHACHA20_POLY1305: CipherShape(salt=4, iv=8, icv=16, fixed_bits=256),  # RFC 7634
}


class MacFunction(Enum):
    """The keyed functions behind PRFs and integrity transforms; those of HMAC are named as hashlib names the hash."""

    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"
    AES_XCBC = "aes_xcbc"
    AES_CMAC = "aes_cmac"


@dataclass(frozen=True, slots=True)
class Mac:
    """A keyed function, the size of its key and of what is kept of its output."""

    function: MacFunction
    key: int
    size: int


# RFC 4868 section 2.6, RFC 2404: the key of an HMAC is as long as the hash. RFC 3566, RFC 4494: AES has 128 bits.
INTEGRITIES = {
    Integ.HMAC_SHA1_96: Mac(MacFunction.SHA1, 20, 12),
    Integ.AES_XCBC_96: Mac(MacFunction.AES_XCBC, 16, 12),
    Integ.AES_CMAC_96: Mac(MacFunction.AES_CMAC, 16, 12),
    Integ.HMAC_SHA2_256_128: Mac(MacFunction.SHA256, 32, 16),
    Integ.HMAC_SHA2_384_192: Mac(MacFunction.SHA384, 48, 24),
    Integ.HMAC_SHA2_512_256: Mac(MacFunction.SHA512, 64, 32),
}
# RFC 7296 section 2.13: the preferred key length of a PRF is its output's.
PRFS = {
    Prf.HMAC_SHA1: Mac(MacFunction.SHA1, 20, 20),
    Prf.AES128_XCBC: Mac(MacFunction.AES_XCBC, 16, 16),
    Prf.HMAC_SHA2_256: Mac(MacFunction.SHA256, 32, 32),
    Prf.HMAC_SHA2_384: Mac(MacFunction.SHA384, 48, 48),
    Prf.HMAC_SHA2_512: Mac(MacFunction.SHA512, 64, 64),
    Prf.AES128_CMAC: Mac(MacFunction.AES_CMAC, 16, 16),
}


def is_aead(encryption: Encr) -> bool:
    """Whether the cipher brings its own integrity protection."""
    return CIPHERS[encryption].icv > 0


def key_sizes(encryption: Encr, key_bits: int) -> int:
    """Octets of key material that the cipher takes, its salt included."""
    return key_bits // 8 + CIPHERS[encryption].salt


def integrity_key_size(integrity: Integ) -> int:
    """Octets of key material that the integrity transform takes; 0 for NONE."""
    return 0 if integrity == Integ.NONE else INTEGRITIES[integrity].key
