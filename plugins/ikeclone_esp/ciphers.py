"""The ciphers of ESP: one object for the keys of one direction of an SA."""

from __future__ import annotations

import hmac
import os
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ikeclone.backend import BackendError, Encr, EspKeys, EspSuite, Integ

HEADER: Final = 8  # SPI and sequence number
SALT: Final = 4

# next header of what a tunnel carries (RFC 4303 section 2.6)
IPV4: Final = 4
IPV6: Final = 41
DUMMY: Final = 59


class EspCipher(Protocol):
    """Seals and opens single packets. Sizes are in octets; `align` is what payload and trailer are padded to."""

    iv_size: int
    icv_size: int
    align: int

    def seal(self, spi: bytes, number: int, plaintext: bytes | memoryview) -> bytes:
        """The ESP packet around a padded payload; `number` is the whole sequence number."""
        ...

    def open(self, packet: memoryview, number: int) -> bytes:
        """The padded payload of an ESP packet. Raises InvalidTag unless it is authentic."""
        ...


class Aead:
    """AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634): the same packet, salt and nonce.

    The IV is the sequence number: unique for as long as the key lives, which is all that these ciphers ask for.
    """

    iv_size, icv_size, align = 8, 16, 4
    overhead: Final = HEADER + 8 + 16

    def __init__(self, encryption: Encr, key: bytes, esn: bool) -> None:
        kind = AESGCM if encryption == Encr.AES_GCM_16 else ChaCha20Poly1305
        aead = kind(key[:-SALT])
        self.salt, self.esn = key[-SALT:], esn
        self.encrypt_into, self.decrypt_into = aead.encrypt_into, aead.decrypt_into
        self._encrypt, self._decrypt = aead.encrypt, aead.decrypt

    def aad(self, spi: bytes, number: int) -> bytes:
        """What is authenticated beside the payload: SPI and sequence number, the whole of it with ESN."""
        return spi + (number.to_bytes(8, "big") if self.esn else number.to_bytes(4, "big"))

    def seal(self, spi: bytes, number: int, plaintext: bytes | memoryview) -> bytes:
        iv = number.to_bytes(8, "big")
        return spi + iv[4:] + iv + self._encrypt(self.salt + iv, plaintext, self.aad(spi, number))

    def open(self, packet: memoryview, number: int) -> bytes:
        nonce = self.salt + packet[8:16]
        return self._decrypt(nonce, packet[16:], self.aad(bytes(packet[:4]), number))


class CbcHmac:
    """AES-CBC (RFC 3602) with HMAC-SHA2 (RFC 4868), encrypt then authenticate."""

    iv_size, align = 16, 16

    def __init__(self, keys: EspKeys, integrity: Integ, esn: bool) -> None:
        self._aes, self._mac_key, self._esn = algorithms.AES(keys.encryption), keys.integrity, esn
        self._digest, self.icv_size = _HMACS[integrity]

    def _icv(self, authenticated: bytes | memoryview, number: int) -> bytes:
        # With ESN the high half of the number is authenticated but not sent (RFC 4303 section 2.2.1).
        high = (number >> 32).to_bytes(4, "big") if self._esn else b""
        return hmac.digest(self._mac_key, bytes(authenticated) + high, self._digest)[: self.icv_size]

    def seal(self, spi: bytes, number: int, plaintext: bytes | memoryview) -> bytes:
        iv = os.urandom(self.iv_size)  # CBC's must be unpredictable
        encryptor = Cipher(self._aes, modes.CBC(iv)).encryptor()
        packet = spi + (number & 0xFFFFFFFF).to_bytes(4, "big") + iv + encryptor.update(plaintext)
        return packet + self._icv(packet, number)

    def open(self, packet: memoryview, number: int) -> bytes:
        authenticated, icv = packet[: -self.icv_size], packet[-self.icv_size :]
        ciphertext = authenticated[HEADER + self.iv_size :]
        if not hmac.compare_digest(self._icv(authenticated, number), icv) or len(ciphertext) % self.align:
            raise InvalidTag
        decryptor = Cipher(self._aes, modes.CBC(bytes(packet[HEADER : HEADER + self.iv_size]))).decryptor()
        return decryptor.update(ciphertext)


_HMACS: Final = {
    Integ.HMAC_SHA2_256_128: ("sha256", 16),
    Integ.HMAC_SHA2_384_192: ("sha384", 24),
    Integ.HMAC_SHA2_512_256: ("sha512", 32),
}
_AEADS: Final = frozenset({Encr.AES_GCM_16, Encr.CHACHA20_POLY1305})


def supported(suite: EspSuite) -> bool:
    """Whether this data plane has the algorithms."""
    if suite.encryption in _AEADS:
        return suite.integrity == Integ.NONE
    return suite.encryption == Encr.AES_CBC and suite.integrity in _HMACS


def make_cipher(suite: EspSuite, keys: EspKeys) -> EspCipher:
    """The cipher of one direction. Raises BackendError for algorithms we lack, or keys of a wrong size."""
    if not supported(suite):
        raise BackendError(f"{suite} is not supported by the esp backend: use AES-GCM, ChaCha20-Poly1305 or AES-CBC")
    try:
        if suite.encryption in _AEADS:
            return Aead(suite.encryption, keys.encryption, suite.esn)
        return CbcHmac(keys, suite.integrity, suite.esn)
    except ValueError:
        raise BackendError(f"the keys do not have the size that {suite} needs") from None


def trailer(length: int, align: int, next_header: int) -> bytes:
    """The ESP trailer after `length` octets: padding 1, 2, 3 …, its length, next header (RFC 4303 section 2.4)."""
    pad = -(length + 2) % align
    return bytes(range(1, pad + 1)) + bytes((pad, next_header))


def strip(plaintext: bytes) -> tuple[int, int]:
    """Length and next header of the payload in a decrypted packet. Raises ValueError when its padding is too long.

    What the padding holds doesn't matter: every supported cipher authenticates it.
    """
    length = len(plaintext) - 2 - plaintext[-2]
    if length < 0:
        raise ValueError("more padding than packet")
    return length, plaintext[-1]


def inner_mtu(outer_payload: int) -> int:
    """The largest inner packet that fits `outer_payload` octets of ESP with any supported suite.

    The worst is AES-CBC with HMAC-SHA2-512: an IV and padding of 16 octets, an ICV of 32.
    """
    room = outer_payload - HEADER - CbcHmac.iv_size - max(size for _, size in _HMACS.values())
    return room // CbcHmac.align * CbcHmac.align - 2
