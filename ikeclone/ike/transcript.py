"""What was said in IKE_INTERMEDIATE, for IKE_AUTH to authenticate (RFC 9242 section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ikeclone.crypto.keys import IkeKeys
from ikeclone.crypto.prf import prf
from ikeclone.numbers import PayloadType, Prf
from ikeclone.wire.message import Header, build_protected


@dataclass(slots=True)
class Transcript:
    """A digest of each side's messages. `exchanges` are counted by their requests."""

    exchanges: int = 0
    _initiator: bytes = field(default=b"", repr=False)
    _responder: bytes = field(default=b"", repr=False)

    def add(self, function: Prf, keys: IkeKeys, header: Header, first: PayloadType, plaintext: bytes) -> None:
        """Note a message that these keys protect, as it is when neither encrypted, padded nor fragmented."""
        octets = build_protected(header, first, len(plaintext)) + plaintext
        if header.response:
            self._responder = prf(function, keys.sk_pr, self._responder + octets)
        else:
            self.exchanges += 1
            self._initiator = prf(function, keys.sk_pi, self._initiator + octets)

    def octets(self) -> bytes:
        """IntAuth, nothing without exchanges; it ends with the ID of the first IKE_AUTH message, which is the next."""
        if not self.exchanges:
            return b""
        return self._initiator + self._responder + (self.exchanges + 1).to_bytes(4)
