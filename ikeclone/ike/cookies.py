"""Stateless cookies against floods of IKE_SA_INIT from forged addresses (RFC 7296 section 2.6)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from ikeclone.backend import Path

LIFETIME = 60.0


class Cookies:
    """Cookies from a secret that changes every minute; one made with the former secret is still good."""

    def __init__(self, random: Callable[[int], bytes], now: float) -> None:
        self._random = random
        self._secrets = [random(32), random(32)]
        self._since = now

    def make(self, spi_i: bytes, nonce: bytes, path: Path, now: float) -> bytes:
        """The cookie that this initiator must send back."""
        self._rotate(now)
        return self._cookie(self._secrets[0], spi_i, nonce, path)

    def check(self, cookie: bytes, spi_i: bytes, nonce: bytes, path: Path, now: float) -> bool:
        """Whether we made this cookie for this initiator lately."""
        self._rotate(now)
        return any(hmac.compare_digest(cookie, self._cookie(s, spi_i, nonce, path)) for s in self._secrets)

    def _rotate(self, now: float) -> None:
        if now - self._since >= LIFETIME:
            former = self._secrets[0] if now - self._since < 2 * LIFETIME else self._random(32)
            self._secrets = [self._random(32), former]
            self._since = now

    @staticmethod
    def _cookie(secret: bytes, spi_i: bytes, nonce: bytes, path: Path) -> bytes:
        peer = path.remote.packed + path.remote_port.to_bytes(2, "big")
        return hmac.digest(secret, nonce + peer + spi_i, hashlib.sha256)
