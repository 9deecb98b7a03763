"""Pseudorandom functions and prf+ (RFC 7296 sections 2.10 and 2.13)."""

from __future__ import annotations

from ikeclone.crypto.algorithms import PRFS
from ikeclone.crypto.mac import mac_of_any_key
from ikeclone.numbers import Prf


def prf(function: Prf, key: bytes, data: bytes) -> bytes:
    """`prf_size` pseudorandom octets of a key of any length."""
    return mac_of_any_key(PRFS[function].function, key, data)


def prf_size(function: Prf) -> int:
    """Octets of the output, which is the preferred key length too."""
    return PRFS[function].size


def prf_plus(function: Prf, key: bytes, seed: bytes, length: int) -> bytes:
    """`length` pseudorandom octets, at most 255 times the PRF's output; raises ValueError beyond that."""
    stream, block = bytearray(), b""
    for counter in range(1, -(-length // prf_size(function)) + 1):
        block = prf(function, key, block + seed + bytes([counter]))
        stream += block
    return bytes(stream[:length])
