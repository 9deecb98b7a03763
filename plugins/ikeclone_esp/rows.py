"""Memory for the decrypted packets of one batch, at equal distances so that a field of all is a numpy column."""

from __future__ import annotations

from typing import Final

import numpy as np

MOST_ROWS: Final = 128  # UDP_MAX_SEGMENTS of newer kernels
_LARGEST: Final = 65535


class Rows:
    """Rows of `stride` octets. The memory has room for what 64 KB of ESP packets hold, and a row more."""

    def __init__(self) -> None:
        self.memory = bytearray(2 * _LARGEST + (MOST_ROWS + 1) * 64)
        self.view = memoryview(self.memory)
        self.stride = 64

    def arrange(self, longest: int) -> int:
        """Make rows for packets of up to `longest` octets; returns the new stride."""
        self.stride = -(-longest // 64) * 64
        return self.stride

    def row(self, index: int, length: int) -> memoryview:
        start = index * self.stride
        return self.view[start : start + length]

    def column(self, offset: int, rows: int, count: int, dtype: object) -> np.ndarray:
        """A view of `count` numbers at this offset of each of the first rows."""
        kind = np.dtype(dtype)  # type: ignore[call-overload]
        return np.ndarray((rows, count), kind, self.memory, offset, (self.stride, kind.itemsize))

    def octets(self, offset: int, rows: int) -> bytearray:
        """The octet at this offset of the first rows."""
        return self.memory[offset : (rows - 1) * self.stride + offset + 1 : self.stride]
