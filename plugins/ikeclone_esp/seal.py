"""From finished inner packets to ESP packets on their way.

With the fast ciphers, a run of rows is encrypted by one C loop: `starmap` calls `encrypt_into` with tuples of views
that were made once per layout, and only the octets behind the views change. ESP headers and nonces are columns.
"""

from __future__ import annotations

from collections import deque
from itertools import starmap
from typing import Final

import numpy as np

from ikeclone_esp.associations import OutboundSa
from ikeclone_esp.ciphers import IPV4, IPV6, Aead, trailer
from ikeclone_esp.frames import MOST_ROWS, Frames, Layout
from ikeclone_esp.paths import LARGEST
from ikeclone_esp.segment import Segmenter

_consume: Final = deque[object](maxlen=0).extend  # runs an iterator to its end in C
_ESP: Final = Aead.overhead
_MOST_PLANS: Final = 256
_PAYLOAD: Final = 16  # where it begins in a packet of the fast ciphers: SPI, sequence number, IV

Arguments = tuple[memoryview, memoryview, memoryview, memoryview]


class _Buffers:
    """The packets to send, and a nonce and (for ESN) authenticated data for each row."""

    def __init__(self) -> None:
        self.out = bytearray(LARGEST + 2 * _ESP)
        self.view = memoryview(self.out)
        nonces, aads = bytearray(12 * MOST_ROWS), bytearray(12 * MOST_ROWS)
        self.nonces = np.frombuffer(nonces, ">u4").reshape(MOST_ROWS, 3)
        self.aads = np.frombuffer(aads, ">u4").reshape(MOST_ROWS, 3)
        self.nonce = [memoryview(nonces)[12 * r : 12 * r + 12] for r in range(MOST_ROWS)]
        self.aad = [memoryview(aads)[12 * r : 12 * r + 12] for r in range(MOST_ROWS)]


class _Plan:
    """The views that encrypt `count` rows of a layout from `first` on, and send them; made once, used often."""

    def __init__(self, layout: Layout, buffers: _Buffers, first: int, count: int) -> None:
        self.size = size = layout.plain + _ESP
        self.count = count
        headers = np.ndarray((count, 4), ">u4", buffers.out, 0, (size, 4))
        self.headers, self.numbers_sent, self.numbers_in_iv = headers, headers[:, 1], headers[:, 3]
        self.nonces, self.numbers_in_nonce = buffers.nonces[:count], buffers.nonces[:count, 2]
        self.aads, self.numbers_in_aad = buffers.aads[:count], buffers.aads[:count, 2]
        self.numbers, self.counting = np.empty(count, np.uint32), np.arange(count, dtype=np.uint32)
        self.plain_arguments: list[Arguments] = []
        self.esn_arguments: list[Arguments] = []
        for place in range(count):
            start = place * size
            row = layout.row(first + place, layout.plain)
            target = buffers.view[start + _PAYLOAD : start + size]
            header = buffers.view[start : start + 8]
            self.plain_arguments.append((buffers.nonce[place], row, header, target))
            self.esn_arguments.append((buffers.nonce[place], row, buffers.aad[place], target))


class _Constants:
    """What the ESP headers, nonces and authenticated data of an SA have in common, zero where numbers go."""

    def __init__(self, sa: OutboundSa, cipher: Aead, high: int) -> None:
        self.sa, self.high = sa, high
        spi, salt = int.from_bytes(sa.spi, "big"), int.from_bytes(cipher.salt, "big")
        self.headers = np.array([spi, 0, high, 0], ">u4")
        self.nonces = np.array([salt, high, 0], ">u4")
        self.aads = np.array([spi, high, 0], ">u4")


class Sealer:
    """Sends the frame in the memory on an SA.

    Single packets of equal size are collected and leave together; `flush` must follow the last one.
    """

    def __init__(self, frames: Frames) -> None:
        self._frames, self._segmenter = frames, Segmenter(frames)
        self._buffers = _Buffers()
        self._plans: dict[tuple[Layout, int, int], _Plan] = {}
        self._constants: _Constants | None = None
        self._singles: OutboundSa | None = None
        self._size = self._used = self._count = 0
        self._open = True

    def send(self, sa: OutboundSa, origin: int) -> None:
        """Send the frame on this SA for the CPU of the worker `origin`."""
        rows, last = self._segmenter.split()
        frames = self._frames
        octets = frames.length + (rows - 1) * frames.layout.header
        number = sa.claim(rows, octets)
        if not number:
            sa.row.dropped("exhausted", rows)
            return
        sa.row.sent(rows, octets)
        if sa.sa.cpu is None:
            sa.row.carried_for(origin, rows)
        if not isinstance(sa.cipher, Aead) or (number ^ (number + rows - 1)) >> 32:
            self.flush()
            self._send_one_by_one(sa, number, rows, last)
        elif rows == 1:
            self._collect(sa, sa.cipher, number, last)
        else:
            self.flush()
            self._send_rows(sa, sa.cipher, number, rows, last)

    def _plan(self, layout: Layout, first: int, count: int) -> _Plan:
        plan = self._plans.get((layout, first, count))
        if plan is None:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[layout, first, count] = _Plan(layout, self._buffers, first, count)
        return plan

    def _send_rows(self, sa: OutboundSa, cipher: Aead, number: int, rows: int, last: int) -> None:
        layout = self._frames.layout
        layout.write_trailers(rows)
        most = LARGEST // (layout.plain + _ESP)
        for first in range(0, rows, most):
            count = min(most, rows - first)
            plan = self._plan(layout, first, count)
            self._write_headers(sa, cipher, plan, number + first)
            arguments = plan.esn_arguments if sa.esn else plan.plain_arguments
            end = count * plan.size
            if first + count == rows and last != layout.full:
                size = self._encrypt_last(cipher, layout, arguments[-1], rows - 1, last)
                arguments, end = arguments[:-1], end - plan.size + size
            _consume(starmap(cipher.encrypt_into, arguments))
            self._transmit(sa, end, plan.size, count)

    def _write_headers(self, sa: OutboundSa, cipher: Aead, plan: _Plan, number: int) -> None:
        """SPI, sequence number and IV of each packet, and its nonce: salt and IV."""
        high, numbers, constants = number >> 32, plan.numbers, self._constants
        if constants is None or constants.sa is not sa or constants.high != high:
            constants = self._constants = _Constants(sa, cipher, high)
        np.add(plan.counting, np.uint32(number & 0xFFFFFFFF), out=numbers)
        plan.headers[:] = constants.headers
        plan.numbers_sent[:] = numbers
        plan.numbers_in_iv[:] = numbers
        plan.nonces[:] = constants.nonces
        plan.numbers_in_nonce[:] = numbers
        if sa.esn:
            plan.aads[:] = constants.aads
            plan.numbers_in_aad[:] = numbers

    @staticmethod
    def _encrypt_last(cipher: Aead, layout: Layout, arguments: Arguments, row: int, length: int) -> int:
        """Encrypt the last row, which is shorter; returns the octets of its ESP packet."""
        nonce, _, aad, target = arguments
        tail = trailer(length, cipher.align, layout.next_header)
        plain = layout.row(row, length + len(tail))
        plain[length:] = tail
        cipher.encrypt_into(nonce, plain, aad, target[: len(plain) + cipher.icv_size])
        return len(plain) + _ESP

    def _collect(self, sa: OutboundSa, cipher: Aead, number: int, length: int) -> None:
        """Encrypt a single packet behind those that wait to be sent with it."""
        view = self._frames.view
        tail = trailer(length, cipher.align, IPV4 if view[0] >> 4 == 4 else IPV6)
        plain = length + len(tail)
        view[length:plain] = tail
        size = plain + _ESP
        if self._singles is not sa or not self._open or size > self._size or self._used + size > LARGEST:
            self.flush()
            self._singles, self._size = sa, size
        start, out = self._used, self._buffers.view
        iv = number.to_bytes(8, "big")
        out[start : start + _PAYLOAD] = sa.spi + iv[4:] + iv
        aad, target = cipher.aad(sa.spi, number), out[start + _PAYLOAD : start + size]
        cipher.encrypt_into(cipher.salt + iv, view[:plain], aad, target)
        self._used, self._count = start + size, self._count + 1
        self._open = size == self._size and self._count < MOST_ROWS  # a shorter packet can only be the last

    def flush(self) -> None:
        """Send the single packets that were collected."""
        if self._singles is not None:
            sa, used, count = self._singles, self._used, self._count
            self._singles, self._used, self._count, self._open = None, 0, 0, True
            self._transmit(sa, used, self._size, count)

    def _transmit(self, sa: OutboundSa, end: int, size: int, count: int) -> None:
        try:
            sa.path.send(self._buffers.view[:end], size)
        except OSError:
            sa.row.dropped("send", count)

    def _send_one_by_one(self, sa: OutboundSa, number: int, rows: int, last: int) -> None:
        """The slow path: ciphers without `encrypt_into`, and where the high half of the number changes."""
        layout, cipher = self._frames.layout, sa.cipher
        next_header = IPV4 if layout.view[0] >> 4 == 4 else IPV6
        for row in range(rows):
            length = last if row == rows - 1 else layout.full
            plain = bytes(layout.row(row, length)) + trailer(length, cipher.align, next_header)
            packet = cipher.seal(sa.spi, number + row, plain)
            try:
                sa.path.send(memoryview(packet), len(packet))
            except OSError:
                sa.row.dropped("send")
