"""Packets that one worker passes to another: plaintext for a fallback SA, and ESP that arrived at the wrong one.

Both are rare or short-lived: plaintext until the CPU's own clone is there, ESP when the network card merged packets
of two SAs into one read.
"""

from __future__ import annotations

import select
import socket
import struct
from collections import deque
from typing import Final, NamedTuple

PLAINTEXT: Final = 0
CIPHERTEXT: Final = 1
LARGEST: Final = 1 << 17
_TAG: Final = struct.Struct("=BHB")
MOST_HOPS: Final = 2  # workers may disagree for a moment about who has the fallback


class Tag(NamedTuple):
    """What goes before a packet that is passed on: its kind, the worker it comes from, and how often it has been."""

    kind: int
    origin: int
    hops: int

    @classmethod
    def split(cls, data: bytes) -> tuple[Tag, bytes]:
        return cls(*_TAG.unpack_from(data)), data[_TAG.size :]

    def join(self, packet: bytes) -> bytes:
        return _TAG.pack(*self) + packet


class Handover:
    """The ways into the other workers.

    When one is full, what it should get waits here and `blocked` tells the owner to read no more of the TUN, whose
    queue then fills as a slow network card's would.
    """

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._ends: dict[int, socket.socket] = {}
        self._waiting: dict[int, deque[bytes]] = {}

    def connect(self, worker: int, end: socket.socket) -> None:
        """Use this end to write to a worker."""
        self._ends[worker] = end
        self._waiting[worker] = deque()

    @property
    def blocked(self) -> bool:
        return any(self._waiting.values())

    def pass_on(self, worker: int, tag: Tag, packet: bytes) -> None:
        """Give a packet to another worker; in order, and later if it is behind."""
        waiting = self._waiting[worker]
        waiting.append(tag.join(packet))
        if len(waiting) == 1:
            self.resume(worker)
            if waiting:
                self._poll.register(self._ends[worker], select.EPOLLOUT)

    def resume(self, worker: int) -> None:
        """Write what waits for a worker, as far as there is room."""
        waiting, end = self._waiting[worker], self._ends[worker]
        while waiting:
            try:
                end.send(waiting[0])
            except BlockingIOError:
                return
            waiting.popleft()

    def on_writable(self, worker: int) -> None:
        """Go on after the poll object reported room."""
        self.resume(worker)
        if not self._waiting[worker]:
            self._poll.unregister(self._ends[worker])

    def worker_of(self, fd: int) -> int | None:
        """Which worker a descriptor that is ready for writing leads to."""
        return next((worker for worker, end in self._ends.items() if end.fileno() == fd), None)
