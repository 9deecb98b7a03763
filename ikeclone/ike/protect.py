"""Protected messages: the SK payload and its fragments (RFC 7296 section 3.14, RFC 7383)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ikeclone.crypto.cipher import IkeCipher, IntegrityError
from ikeclone.crypto.keys import IkeKeys
from ikeclone.crypto.suite import IkeSuite
from ikeclone.numbers import Integ, PayloadType
from ikeclone.wire.message import Header, build_payloads, build_protected
from ikeclone.wire.payloads import Encrypted, EncryptedFragment, Payload


class Protection:
    """Both directions of an IKE SA's cipher."""

    def __init__(self, suite: IkeSuite, keys: IkeKeys, initiator: bool, random: Callable[[int], bytes]) -> None:
        ours, theirs = (keys.sk_ei, keys.sk_ai), (keys.sk_er, keys.sk_ar)
        if not initiator:
            ours, theirs = theirs, ours
        self._outbound = IkeCipher(suite.encryption, suite.key_bits, suite.integrity, *ours)
        self._inbound = IkeCipher(suite.encryption, suite.key_bits, suite.integrity, *theirs)
        self._counted = suite.integrity == Integ.NONE
        self._random = random
        self._sealed = 0

    def seal(self, header: Header, payloads: Sequence[Payload], limit: int | None) -> tuple[bytes, ...]:
        """The datagrams of a message: one, or several of at most `limit` octets when it would be longer."""
        first, plaintext = build_payloads(payloads)
        whole = self._datagram(header, first, plaintext)
        if limit is None or len(whole) <= limit:
            return (whole,)
        room = limit - (len(whole) - len(plaintext)) - 4 - self._outbound.overhead(0)
        parts = [plaintext[i : i + room] for i in range(0, len(plaintext), room)]
        return tuple(
            self._datagram(header, first if i == 1 else PayloadType.NONE, part, (i, len(parts)))
            for i, part in enumerate(parts, 1)
        )

    def open(self, payload: Encrypted | EncryptedFragment, datagram: bytes) -> bytes:
        """The plaintext of a datagram's SK or SKF payload; raises IntegrityError when it is forged."""
        return self._inbound.open(payload.body, datagram[: len(datagram) - len(payload.body)])

    def opens(self, payload: Encrypted | EncryptedFragment, datagram: bytes) -> bool:
        """Whether a datagram's SK or SKF payload is not forged."""
        try:
            self.open(payload, datagram)
        except IntegrityError:
            return False
        return True

    def _datagram(
        self, header: Header, first: PayloadType, plaintext: bytes, fragment: tuple[int, int] | None = None
    ) -> bytes:
        start = build_protected(header, first, self._outbound.overhead(len(plaintext)), fragment)
        return start + self._outbound.seal(plaintext, start, self._iv())

    def _iv(self) -> bytes:
        # An AEAD wants an IV that never comes twice under one key; CBC one that cannot be foreseen.
        if not self._counted:
            return self._random(self._outbound.iv_size)
        self._sealed += 1
        return self._sealed.to_bytes(self._outbound.iv_size, "big")
