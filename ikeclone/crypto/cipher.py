"""Sealing and opening the body of an Encrypted payload (RFC 7296 section 3.14, RFC 5282, RFC 7634)."""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

from ikeclone.crypto.algorithms import CIPHERS, INTEGRITIES, Mac, integrity_key_size, is_aead, key_sizes
from ikeclone.crypto.mac import mac
from ikeclone.errors import IkecloneError, InvalidSyntax
from ikeclone.numbers import Encr, Integ

_Mode = modes.CBC | modes.CTR
_CCM = (Encr.AES_CCM_8, Encr.AES_CCM_12, Encr.AES_CCM_16)

__all__ = ["IkeCipher", "IntegrityError", "integrity_key_size", "key_sizes"]


class IntegrityError(IkecloneError):
    """A body that was not sealed with this key, or not with these associated data."""


class IkeCipher:
    """Protects the messages of one direction of an IKE SA. Holds keys: never printed."""

    __slots__ = ("_block", "_engine", "_icv_size", "iv_size")

    def __init__(
        self, encryption: Encr, key_bits: int, integrity: Integ, encryption_key: bytes, integrity_key: bytes
    ) -> None:
        """`encryption_key` ends with the cipher's salt; `integrity_key` is empty with an AEAD.

        Raises ValueError if the keys are not of the algorithms' sizes.
        """
        sizes = len(encryption_key), len(integrity_key)
        if sizes != (key_sizes(encryption, key_bits), integrity_key_size(integrity)):
            raise ValueError(f"keys of {sizes} octets for {encryption.name} of {key_bits} bits, {integrity.name}")
        shape = CIPHERS[encryption]
        self._engine = _engine(encryption, integrity, encryption_key, integrity_key)
        self._icv_size = shape.icv or INTEGRITIES[integrity].size
        self._block = shape.block
        self.iv_size = shape.iv

    def overhead(self, plaintext_size: int) -> int:
        """The size of the body that a plaintext becomes: IV, ciphertext with padding, ICV."""
        return self.iv_size + plaintext_size + self._padding(plaintext_size) + 1 + self._icv_size

    def seal(self, plaintext: bytes, aad: bytes, iv: bytes) -> bytes:
        """The body for a plaintext; `aad` is the message up to the body.

        `iv` must never repeat under one key (RFC 5282 section 3.1) and, for CBC, be unpredictable.
        """
        padding = self._padding(len(plaintext))
        return iv + self._engine.seal(iv, plaintext + bytes(padding) + bytes([padding]), aad)

    def open(self, body: bytes, aad: bytes) -> bytes:
        """The plaintext of a body.

        Raises IntegrityError if it is not authentic, InvalidSyntax if its authentic sender padded it wrongly.
        """
        if len(body) < self.overhead(0) or (len(body) - self.overhead(0)) % self._block:
            raise IntegrityError(f"an encrypted body of {len(body)} octets")
        padded = self._engine.open(body[: self.iv_size], body[self.iv_size :], aad)
        size = len(padded) - 1 - padded[-1]
        if size < 0:
            raise InvalidSyntax("more padding than plaintext")
        return padded[:size]

    def _padding(self, size: int) -> int:
        """Octets that fill the last block, the octet of the padding's length counted in."""
        return -(size + 1) % self._block


class _Engine(ABC):
    """Encrypts and authenticates whole blocks."""

    @abstractmethod
    def seal(self, iv: bytes, plaintext: bytes, aad: bytes) -> bytes:
        """Ciphertext and ICV."""

    @abstractmethod
    def open(self, iv: bytes, sealed: bytes, aad: bytes) -> bytes:
        """The plaintext; raises IntegrityError."""


class _Gcm(_Engine):
    """AES-GCM; the cipher interface below AESGCM knows ICVs of 8 and 12 octets too."""

    def __init__(self, key: bytes, salt: bytes, icv_size: int) -> None:
        self._cipher, self._salt, self._icv_size = algorithms.AES(key), salt, icv_size

    def seal(self, iv: bytes, plaintext: bytes, aad: bytes) -> bytes:
        encryptor = Cipher(self._cipher, modes.GCM(self._salt + iv)).encryptor()
        encryptor.authenticate_additional_data(aad)
        return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag[: self._icv_size]

    def open(self, iv: bytes, sealed: bytes, aad: bytes) -> bytes:
        ciphertext, icv = sealed[: -self._icv_size], sealed[-self._icv_size :]
        mode = modes.GCM(self._salt + iv, icv, min_tag_length=self._icv_size)
        decryptor = Cipher(self._cipher, mode).decryptor()
        decryptor.authenticate_additional_data(aad)
        try:
            return decryptor.update(ciphertext) + decryptor.finalize()
        except InvalidTag as error:
            raise IntegrityError("wrong ICV") from error


class _Aead(_Engine):
    """AES-CCM and ChaCha20-Poly1305, whose interface takes nonce and ICV as the RFCs do."""

    def __init__(self, cipher: AESCCM | ChaCha20Poly1305, salt: bytes) -> None:
        self._cipher, self._salt = cipher, salt

    def seal(self, iv: bytes, plaintext: bytes, aad: bytes) -> bytes:
        return self._cipher.encrypt(self._salt + iv, plaintext, aad)

    def open(self, iv: bytes, sealed: bytes, aad: bytes) -> bytes:
        try:
            return self._cipher.decrypt(self._salt + iv, sealed, aad)
        except InvalidTag as error:
            raise IntegrityError("wrong ICV") from error


class _EncryptThenMac(_Engine):
    """A cipher with a MAC over the associated data, the IV and the ciphertext."""

    def __init__(self, cipher: algorithms.AES, mode: Callable[[bytes], _Mode], key: bytes, integrity: Mac) -> None:
        self._cipher, self._mode, self._key, self._integrity = cipher, mode, key, integrity

    def seal(self, iv: bytes, plaintext: bytes, aad: bytes) -> bytes:
        ciphertext = _run(Cipher(self._cipher, self._mode(iv)).encryptor(), plaintext)
        return ciphertext + self._icv(aad + iv + ciphertext)

    def open(self, iv: bytes, sealed: bytes, aad: bytes) -> bytes:
        ciphertext, icv = sealed[: -self._integrity.size], sealed[-self._integrity.size :]
        if not hmac.compare_digest(icv, self._icv(aad + iv + ciphertext)):
            raise IntegrityError("wrong ICV")
        return _run(Cipher(self._cipher, self._mode(iv)).decryptor(), ciphertext)

    def _icv(self, data: bytes) -> bytes:
        return mac(self._integrity.function, self._key, data)[: self._integrity.size]


def _run(context: CipherContext, data: bytes) -> bytes:
    return context.update(data) + context.finalize()


def _engine(encryption: Encr, integrity: Integ, encryption_key: bytes, integrity_key: bytes) -> _Engine:
    size = len(encryption_key) - CIPHERS[encryption].salt
    key, salt = encryption_key[:size], encryption_key[size:]
    if encryption == Encr.CHACHA20_POLY1305:
        return _Aead(ChaCha20Poly1305(key), salt)
    if encryption in _CCM:
        return _Aead(AESCCM(key, CIPHERS[encryption].icv), salt)
    if is_aead(encryption):
        return _Gcm(key, salt, CIPHERS[encryption].icv)

    def mode(iv: bytes) -> _Mode:
        if encryption == Encr.AES_CBC:
            return modes.CBC(iv)
        return modes.CTR(salt + iv + (1).to_bytes(4))  # RFC 3686 section 4: the counter starts at 1

    return _EncryptThenMac(algorithms.AES(key), mode, integrity_key, INTEGRITIES[integrity])
