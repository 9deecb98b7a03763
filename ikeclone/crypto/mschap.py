"""MS-CHAP version 2 (RFC 2759) and the keys that come of it (RFC 3079)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from ikeclone.crypto.md4 import md4

CHALLENGE_SIZE = 16
_KEY_SIZE = 16
_MSK_SIZE = 64

# RFC 2759 section 8.7.
_SERVER_SIGNING = b"Magic server to client signing constant"
_MORE_ITERATIONS = b"Pad to make it do more than one iteration"
# RFC 3079 section 3.4.
_MASTER_KEY = b"This is the MPPE Master Key"
_CLIENT_SENDS = b"On the client side, this is the send key; on the server side, it is the receive key."
_SERVER_SENDS = b"On the client side, this is the receive key; on the server side, it is the send key."
_PADS = bytes(40), b"\xf2" * 40


def nt_hash(password: str) -> bytes:
    """NtPasswordHash of RFC 2759 section 8.3: what both sides know of a password."""
    return md4(password.encode("utf-16-le"))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One authentication: both challenges of 16 octets, the user's name as the peer sent it, the password's hash."""

    server_challenge: bytes
    peer_challenge: bytes
    user: bytes
    password: bytes = field(repr=False)

    def response(self) -> bytes:
        """The peer's proof, 24 octets (section 8.1)."""
        return _challenge_response(self._challenge(), self.password)

    def authenticator(self) -> bytes:
        """The server's proof, 20 octets (section 8.7)."""
        digest = _sha1(md4(self.password), self.response(), _SERVER_SIGNING)
        return _sha1(digest, self._challenge(), _MORE_ITERATIONS)

    def msk(self) -> bytes:
        """The key that both sides know then: what the server receives with, what it sends with, and zeros."""
        master = _sha1(md4(self.password), self.response(), _MASTER_KEY)[:_KEY_SIZE]
        keys = (_sha1(master, _PADS[0], magic, _PADS[1])[:_KEY_SIZE] for magic in (_CLIENT_SENDS, _SERVER_SENDS))
        return b"".join(keys).ljust(_MSK_SIZE, b"\0")

    def _challenge(self) -> bytes:
        """ChallengeHash of section 8.2, which leaves out the name of a Windows domain."""
        return _sha1(self.peer_challenge, self.server_challenge, self.user.rpartition(b"\\")[2])[:8]


def _challenge_response(challenge: bytes, password: bytes) -> bytes:
    """Section 8.5: the challenge under three DES keys that the hash of the password is cut into."""
    padded = password.ljust(21, b"\0")
    return b"".join(_des(padded[start : start + 7], challenge) for start in (0, 7, 14))


def _des(key: bytes, block: bytes) -> bytes:
    """DES, which is what triple DES with three equal keys does; of each octet of a key, the parity bit is unused."""
    bits = int.from_bytes(key, "big")
    spread = bytes((bits >> shift & 0x7F) << 1 for shift in range(49, -1, -7))
    encryptor = Cipher(TripleDES(spread * 3), modes.ECB()).encryptor()  # noqa: S305  the protocol says so
    return encryptor.update(block) + encryptor.finalize()


def _sha1(*parts: bytes) -> bytes:
    return hashlib.sha1(b"".join(parts), usedforsecurity=False).digest()
