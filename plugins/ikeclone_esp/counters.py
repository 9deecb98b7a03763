"""Counters in memory that a worker writes and the daemon reads: no question, no answer, no lock.

One row of 64-bit numbers per SA, and one per worker for what no SA can be blamed for. A row has one writer; an
aligned 64-bit store is whole to any reader.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Sequence
from typing import Final

from ikeclone.backend import Counters

IN_PACKETS, IN_BYTES, OUT_PACKETS, OUT_BYTES, IN_LAST, OUT_LAST = range(6)
REASONS: Final = (
    "replay",  # an old or repeated sequence number
    "integrity",  # not authentic
    "selectors",  # an inner packet that the SA is not for
    "malformed",  # no ESP or IP packet
    "no-sa",  # ESP for an SPI that is not ours
    "no-policy",  # a packet for the tunnel that belongs to no connection
    "held",  # waited for an SA in vain
    "exhausted",  # the SA has carried what it may, or its sequence numbers are used up
    "send",  # the network refused
    "device",  # the TUN refused
)
DROPS: Final = {reason: 6 + i for i, reason in enumerate(REASONS)}
_BY_WORKER: Final = 6 + len(REASONS)  # from here on: packets that a fallback carried, by the worker they came from
ROWS: Final = 16384


def _size(workers: int) -> int:
    return ROWS * (_BY_WORKER + workers) * 8


def create(workers: int) -> int:
    """A file descriptor of fresh counters, all zero. Memory is used as rows are."""
    fd = os.memfd_create("ikeclone-counters", os.MFD_CLOEXEC)
    os.ftruncate(fd, _size(workers))
    return fd


class Row:
    """The counters of one SA or worker."""

    __slots__ = ("_start", "_width", "_words")

    def __init__(self, words: memoryview, index: int, width: int) -> None:
        self._words, self._start, self._width = words, index * width, width

    def received(self, packets: int, octets: int) -> None:
        words, start = self._words, self._start
        words[start + IN_PACKETS] += packets
        words[start + IN_BYTES] += octets
        words[start + IN_LAST] = time.monotonic_ns()

    def sent(self, packets: int, octets: int) -> None:
        words, start = self._words, self._start
        words[start + OUT_PACKETS] += packets
        words[start + OUT_BYTES] += octets
        words[start + OUT_LAST] = time.monotonic_ns()

    def carried_for(self, worker: int, packets: int) -> None:
        """Count packets that a fallback sent in place of a clone."""
        self._words[self._start + _BY_WORKER + worker] += packets

    def dropped(self, reason: str, packets: int = 1) -> None:
        """Count packets dropped for one of REASONS."""
        self._words[self._start + DROPS[reason]] += packets

    def clear(self) -> None:
        for i in range(self._width):
            self._words[self._start + i] = 0

    def read(self, cpus: Sequence[int] = ()) -> Counters:
        """What is counted so far; `cpus` are those of the workers, if packets can be told apart by CPU."""
        values = self._words[self._start : self._start + self._width].tolist()
        drops = {reason: values[i] for reason, i in DROPS.items() if values[i]}
        in_packets, in_bytes, out_packets, out_bytes, in_last, out_last = values[:6]
        by_cpu = {cpu: count for cpu, count in zip(cpus, values[_BY_WORKER:], strict=False) if count}
        return Counters(in_packets, in_bytes, out_packets, out_bytes, in_last / 1e9, out_last / 1e9, drops, by_cpu)


class Table:
    """All rows, mapped from a descriptor of `create`."""

    def __init__(self, fd: int, workers: int) -> None:
        self._width = _BY_WORKER + workers
        self._map = mmap.mmap(fd, _size(workers))
        self._octets = memoryview(self._map)
        self._words = self._octets.cast("Q")

    def row(self, index: int) -> Row:
        return Row(self._words, index, self._width)

    def close(self) -> None:
        """Unmap; rows must not be used after it."""
        self._words.release()
        self._octets.release()
        self._map.close()
