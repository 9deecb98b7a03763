"""Message authentication codes: HMAC, AES-XCBC-MAC (RFC 3566) and AES-CMAC (RFC 4493)."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

from ikeclone.crypto.algorithms import MacFunction

_BLOCK = 16


def mac(function: MacFunction, key: bytes, data: bytes) -> bytes:
    """The whole output of a function. Those of AES take a key of 16 octets, else ValueError is raised."""
    match function:
        case MacFunction.AES_XCBC:
            return _xcbc(key, data)
        case MacFunction.AES_CMAC:
            return _cmac(key, data)
        case _:
            return hmac.digest(key, data, function.value)


def mac_of_any_key(function: MacFunction, key: bytes, data: bytes) -> bytes:
    """The function as a PRF: a key of any length is brought to AES's 16 octets first."""
    match function:
        case MacFunction.AES_XCBC if len(key) < _BLOCK:
            key = key.ljust(_BLOCK, b"\0")  # RFC 4434 section 2
        case MacFunction.AES_XCBC | MacFunction.AES_CMAC if len(key) != _BLOCK:
            key = mac(function, bytes(_BLOCK), key)  # RFC 4434 section 2, RFC 4615 section 3
    return mac(function, key, data)


def _cmac(key: bytes, data: bytes) -> bytes:
    context = CMAC(_aes128(key))
    context.update(data)
    return context.finalize()


def _xcbc(key: bytes, data: bytes) -> bytes:
    """RFC 3566 section 4. The last block is masked, with another key if it had to be padded."""
    derived = _ecb(key, b"\1" * _BLOCK + b"\2" * _BLOCK + b"\3" * _BLOCK)
    first, full, padded = (derived[start : start + _BLOCK] for start in range(0, 3 * _BLOCK, _BLOCK))
    cut = max(len(data) - 1, 0) // _BLOCK * _BLOCK
    last, mask = data[cut:], full
    if len(last) < _BLOCK:
        last, mask = (last + b"\x80").ljust(_BLOCK, b"\0"), padded
    masked = bytes(a ^ b for a, b in zip(last, mask, strict=True))
    encryptor = Cipher(_aes128(first), modes.CBC(bytes(_BLOCK))).encryptor()
    return (encryptor.update(data[:cut] + masked) + encryptor.finalize())[-_BLOCK:]


def _ecb(key: bytes, blocks: bytes) -> bytes:
    encryptor = Cipher(_aes128(key), modes.ECB()).encryptor()  # noqa: S305 - RFC 3566 derives its keys so
    return encryptor.update(blocks) + encryptor.finalize()


def _aes128(key: bytes) -> algorithms.AES:
    if len(key) != _BLOCK:
        raise ValueError(f"a key of {len(key)} octets for AES-128")
    return algorithms.AES(key)
