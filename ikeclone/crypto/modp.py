"""Finite field Diffie-Hellman in the groups of RFC 3526.

Python's own pow() does it: the `cryptography` package deprecates its finite field interface, which cannot
take a private value from the caller either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

_GENERATOR = 2
# Twice the strength that RFC 3526 section 8 estimates for its largest group, and more.
_EXPONENT_SIZE = 64
_BLINDING_SIZE = _EXPONENT_SIZE + 8
_CONSTANTS = {2048: 124476, 3072: 1690314, 4096: 240904, 6144: 929484, 8192: 4743158}


@dataclass(frozen=True, slots=True)
class ModpKey:
    """A private value in the group of a prime of `bits` bits."""

    bits: int
    private: int = field(repr=False)
    blinding: int = field(repr=False)

    @classmethod
    def generate(cls, bits: int, random: Callable[[int], bytes]) -> ModpKey:
        private, blinding = random(_EXPONENT_SIZE), random(_BLINDING_SIZE)
        return cls(bits, int.from_bytes(private), int.from_bytes(blinding))

    def public(self) -> bytes:
        """The public value, as long as the prime."""
        return self._power(_GENERATOR)

    def shared(self, peer: bytes) -> bytes:
        """The shared secret, as long as the prime; raises ValueError on what RFC 6989 section 2.1 forbids."""
        value = int.from_bytes(peer)
        if len(peer) * 8 != self.bits or not 1 < value < prime(self.bits) - 1:
            raise ValueError("public value out of range")
        return self._power(value)

    def _power(self, base: int) -> bytes:
        """base^private. The time of pow() tells of its exponent: each of the two is random by itself."""
        modulus = prime(self.bits)
        masked = pow(base, self.private + self.blinding, modulus)
        mask = pow(base, self.blinding, modulus)
        return (masked * pow(mask, -1, modulus) % modulus).to_bytes(self.bits // 8)


@cache
def prime(bits: int) -> int:
    """The prime of that many bits, by the formula of RFC 3526 sections 3 to 7."""
    middle = _pi(bits - 130) + _CONSTANTS[bits]
    return (1 << bits) - (1 << (bits - 64)) - 1 + (middle << 64)


def _pi(bits: int) -> int:
    """floor(pi * 2^bits), by Machin's formula with 64 bits to spare."""
    one = 1 << (bits + 64)
    return (16 * _arccot(5, one) - 4 * _arccot(239, one)) >> 64


def _arccot(x: int, one: int) -> int:
    total, term, divisor = 0, one // x, 1
    while term:
        total += term // divisor
        term, divisor = -term // (x * x), divisor + 2
    return total
