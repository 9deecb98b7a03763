"""The kernel's names of ESP algorithms, and its attributes with their keys."""

from __future__ import annotations

import struct
from typing import Final

from ikeclone.backend import BackendError, Encr, EspKeys, EspSuite, Integ

# Name for the crypto API and bits of the ICV.
_AEADS: Final = {
    Encr.AES_GCM_8: ("rfc4106(gcm(aes))", 64),
    Encr.AES_GCM_12: ("rfc4106(gcm(aes))", 96),
    Encr.AES_GCM_16: ("rfc4106(gcm(aes))", 128),
    Encr.AES_CCM_8: ("rfc4309(ccm(aes))", 64),
    Encr.AES_CCM_12: ("rfc4309(ccm(aes))", 96),
    Encr.AES_CCM_16: ("rfc4309(ccm(aes))", 128),
    Encr.NULL_AUTH_AES_GMAC: ("rfc4543(gcm(aes))", 128),
    Encr.CHACHA20_POLY1305: ("rfc7539esp(chacha20,poly1305)", 128),
}
_CIPHERS: Final = {
    Encr.TRIPLE_DES: "cbc(des3_ede)",
    Encr.NULL: "ecb(cipher_null)",
    Encr.AES_CBC: "cbc(aes)",
    Encr.AES_CTR: "rfc3686(ctr(aes))",
    Encr.CAMELLIA_CBC: "cbc(camellia)",
}
_IV_MAKERS: Final = {
    Encr.TRIPLE_DES: "echainiv",
    Encr.AES_CBC: "echainiv",
    Encr.AES_CTR: "seqiv",
    Encr.CAMELLIA_CBC: "echainiv",
}
_INTEGRITIES: Final = {
    Integ.HMAC_SHA1_96: ("hmac(sha1)", 96),
    Integ.AES_XCBC_96: ("xcbc(aes)", 96),
    Integ.AES_CMAC_96: ("cmac(aes)", 96),
    Integ.HMAC_SHA2_256_128: ("hmac(sha256)", 128),
    Integ.HMAC_SHA2_384_192: ("hmac(sha384)", 192),
    Integ.HMAC_SHA2_512_256: ("hmac(sha512)", 256),
}


def attributes(suite: EspSuite, keys: EspKeys) -> list[tuple[str, bytes]]:
    """The attributes of a suite with keys: ALG_AEAD, or ALG_CRYPT and ALG_AUTH_TRUNC. They hold the keys.

    Raises BackendError for a suite that the kernel has no name for.
    """
    if suite.encryption in _AEADS:
        name, icv = _AEADS[suite.encryption]
        return [("ALG_AEAD", _algorithm(name, keys.encryption, icv))]
    if suite.encryption not in _CIPHERS or suite.integrity not in _INTEGRITIES:
        raise BackendError(f"the kernel has no {suite}: choose other algorithms with esp=")
    name, icv = _INTEGRITIES[suite.integrity]
    return [
        ("ALG_CRYPT", _algorithm(_CIPHERS[suite.encryption], keys.encryption)),
        ("ALG_AUTH_TRUNC", _algorithm(name, keys.integrity, icv)),
    ]


def cipher_name(suite: EspSuite) -> str:
    """What the kernel looks up for a state: the cipher with its integrity, within what makes its IVs.

    Raises BackendError for a suite that the kernel has no such name for.
    """
    if suite.encryption in _AEADS:
        return f"seqiv({_AEADS[suite.encryption][0]})"
    if suite.encryption not in _IV_MAKERS or suite.integrity not in _INTEGRITIES:
        raise BackendError(f"the kernel cannot share the work of {suite} out: leave parallel-crypto= out")
    authenc = "authencesn" if suite.esn else "authenc"
    inner = f"{authenc}({_INTEGRITIES[suite.integrity][0]},{_CIPHERS[suite.encryption]})"
    return f"{_IV_MAKERS[suite.encryption]}({inner})"


def _algorithm(name: str, key: bytes, icv: int | None = None) -> bytes:
    """struct xfrm_algo or, with the bits of an ICV, xfrm_algo_aead and xfrm_algo_auth, which are laid out alike."""
    bits = (len(key) * 8,) if icv is None else (len(key) * 8, icv)
    return struct.pack(f"64s{len(bits)}I", name.encode(), *bits) + key
