"""Reassembly of fragmented messages (RFC 7383 section 2.6). Only fragments whose integrity was checked come here."""

from __future__ import annotations

from dataclasses import dataclass, field

from ikeclone.errors import InvalidSyntax
from ikeclone.numbers import PayloadType

MAX_FRAGMENTS = 64
MAX_OCTETS = 64 * 1024


@dataclass(slots=True)
class Reassembly:
    """The fragments of one message at a time; a message with another ID takes the place of an unfinished one."""

    message_id: int = -1
    total: int = 0
    first: PayloadType = PayloadType.NONE
    parts: dict[int, bytes] = field(default_factory=dict)

    def add(self, message_id: int, number: int, total: int, first: PayloadType, plaintext: bytes) -> bytes | None:
        """The whole plaintext once every fragment is there, else None; `first` is then the type of its first payload.

        Raises InvalidSyntax on numbers that make no sense or a message that is too long.
        """
        if not 1 <= number <= total <= MAX_FRAGMENTS:
            raise InvalidSyntax(f"fragment {number} of {total}")
        if message_id != self.message_id or total > self.total:
            self.message_id, self.total, self.parts = message_id, total, {}
        if total < self.total or number in self.parts:
            return None
        if sum(map(len, self.parts.values())) + len(plaintext) > MAX_OCTETS:
            self.parts = {}
            raise InvalidSyntax("fragmented message too long")
        self.parts[number] = plaintext
        if number == 1:
            self.first = first
        if len(self.parts) < total:
            return None
        whole = b"".join(self.parts[i] for i in range(1, total + 1))
        self.message_id, self.total, self.parts = -1, 0, {}
        return whole
