"""Bounded reading of octets that a stranger sent."""

from __future__ import annotations

from ikeclone.errors import InvalidSyntax


class Reader:
    """Reads octets front to back and never past their end; every method raises InvalidSyntax instead."""

    __slots__ = ("_data", "_position", "_size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._size = len(data)

    def __len__(self) -> int:
        """How many octets are left."""
        return self._size - self._position

    def take(self, size: int) -> bytes:
        """The next `size` octets; a negative size comes from a length smaller than its header."""
        start = self._position
        end = start + size
        if not start <= end <= self._size:
            raise InvalidSyntax(f"a field of {size} octets where {len(self)} are left")
        self._position = end
        return self._data[start:end]

    def number(self, size: int) -> int:
        """An unsigned number of `size` octets in network order."""
        return int.from_bytes(self.take(size))

    def sub(self, size: int) -> Reader:
        """A reader of the next `size` octets, for a structure that must not look beyond its own length."""
        return Reader(self.take(size))

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.take(len(self))

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._position != self._size:
            raise InvalidSyntax(f"{len(self)} octets too many")
