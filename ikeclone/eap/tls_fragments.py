"""How EAP-TLS carries TLS: in fragments, each of which the other side acknowledges (RFC 5216 section 3)."""

from __future__ import annotations

from enum import IntFlag

from ikeclone.errors import InvalidSyntax
from ikeclone.wire.reader import Reader

FRAGMENT_SIZE = 1024
MOST_OCTETS = 1 << 16


class Flag(IntFlag):
    """The first octet of a packet's data; with LENGTH four octets follow: that of all fragments together."""

    START = 0x20
    MORE = 0x40
    LENGTH = 0x80


START = bytes([Flag.START])
ACKNOWLEDGMENT = b"\0"


class Fragments:
    """What one side sends and receives of TLS; a flight of its messages may be longer than a packet."""

    def __init__(self) -> None:
        self._coming, self._going = bytearray(), bytearray()
        self._begun = False

    def receive(self, data: bytes) -> bytes | None:
        """The flight that a packet ends, empty if it only acknowledges one of ours; None if more is to come.

        Raises InvalidSyntax.
        """
        reader = Reader(data)
        flags = reader.number(1)
        length = reader.number(4) if flags & Flag.LENGTH else 0
        if flags & Flag.MORE and not len(reader):
            raise InvalidSyntax("an empty fragment of EAP-TLS with more to come")
        self._coming += reader.rest()
        if max(length, len(self._coming)) > MOST_OCTETS:
            raise InvalidSyntax(f"more than {MOST_OCTETS} octets of TLS at a time")
        if flags & Flag.MORE:
            return None
        flight = bytes(self._coming)
        self._coming.clear()
        return flight

    def put(self, flight: bytes) -> None:
        """Have a flight sent."""
        self._going += flight
        self._begun = False

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self._going)

    def take(self) -> bytes:
        """The data of the next packet, an acknowledgment if nothing waits."""
        part = bytes(self._going[:FRAGMENT_SIZE])
        whole = len(self._going)
        del self._going[:FRAGMENT_SIZE]
        if not self._going:
            return ACKNOWLEDGMENT + part
        first, self._begun = not self._begun, True
        if first:
            return bytes([Flag.MORE | Flag.LENGTH]) + whole.to_bytes(4) + part
        return bytes([Flag.MORE]) + part
