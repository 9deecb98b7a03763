"""From received ESP packets to inner packets.

A read with UDP_GRO brings a run of equal packets. When they belong to one SA and their sequence numbers count up,
which is nearly always so, the replay window is asked once and one C loop decrypts them; else they go one by one.
"""

from __future__ import annotations

from collections import deque
from itertools import starmap
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag

from ikeclone_esp.associations import InboundSa
from ikeclone_esp.ciphers import DUMMY, HEADER, Aead
from ikeclone_esp.coalesce import Coalescer
from ikeclone_esp.rows import MOST_ROWS, Rows

_consume: Final = deque[object](maxlen=0).extend  # runs an iterator to its end in C
_SMALLEST: Final = Aead.overhead + 4  # an ESP packet of the fast ciphers with nothing but a trailer
_MOST_BATCHES: Final = 256


class _Memory:
    """What batches share: the receive buffer, the rows to decrypt into, and the authenticated data of each row.

    `heads` are the received SPIs and sequence numbers, `wanted` those of a run, `aads` what ESN has in their place.
    """

    def __init__(self, buffer: bytearray) -> None:
        self.buffer, self.rows = buffer, Rows()
        self.heads, self.wanted, self.aads = (bytearray(octets * MOST_ROWS) for octets in (8, 8, 12))


class _Batch:
    """The views for `count` packets of `size` octets in the receive buffer; made once, used often."""

    def __init__(self, memory: _Memory, size: int, count: int) -> None:
        self.size, self.count, self.plain = size, count, size - Aead.overhead
        self.stride = memory.rows.arrange(self.plain)
        view, heads, aads = (memoryview(m) for m in (memory.buffer, memory.heads, memory.aads))
        self.received = np.ndarray((count, HEADER), np.uint8, memory.buffer, 0, (size, 1))
        self.sequence_fields = self.received[:, 4:]
        self.heads = np.ndarray((count, HEADER), np.uint8, memory.heads)
        self.wanted = np.ndarray((count, 2), ">u4", memory.wanted)
        self.wanted_spis, self.wanted_numbers = self.wanted[:, 0], self.wanted[:, 1]
        self.aads = np.ndarray((count, 3), ">u4", memory.aads)
        self.counting, self.numbers = np.arange(count, dtype=np.uint32), np.empty(count, np.uint32)
        self.arguments, self.esn_arguments = [], []
        for r in range(count):
            # The salt is written over the sequence number: with the IV behind it, that is the nonce.
            nonce = view[r * size + 4 : r * size + 16]
            sealed, opened = view[r * size + 16 : (r + 1) * size], memory.rows.row(r, self.plain)
            self.arguments.append((nonce, sealed, heads[8 * r : 8 * r + 8], opened))
            self.esn_arguments.append((nonce, sealed, aads[12 * r : 12 * r + 12], opened))


class Unsealer:
    """Decrypts what `buffer` holds and delivers it. `buffer` is read into by the owner."""

    def __init__(self, buffer: bytearray, tun: int) -> None:
        self._view = memoryview(buffer)
        self._memory = _Memory(buffer)
        self._rows = self._memory.rows
        self._coalescer = Coalescer(tun, self._rows)
        self._batches: dict[tuple[int, int], _Batch] = {}

    def open_run(self, sa: InboundSa, octets: int, size: int) -> bool:
        """Deliver the packets of `size` octets (the last may be shorter) that fill the buffer up to `octets`.

        False means that they are no run for the fast path, and that nothing has been done.
        """
        count, cipher, window = octets // size, sa.cipher, sa.window
        first = window.infer(int.from_bytes(self._view[4:8], "big"))
        if size < _SMALLEST or count > MOST_ROWS or first <= window.top or not isinstance(cipher, Aead):
            return False
        if sa.meter.used_up:
            return False
        batch = self._batch(size, count)
        if not self._is_run(sa, batch, first):
            return False
        batch.sequence_fields[:] = sa.salt
        if sa.esn:
            batch.aads[:, :2] = (int.from_bytes(sa.spi, "big"), first >> 32)
            batch.aads[:, 2] = batch.numbers
        try:
            _consume(starmap(cipher.decrypt_into, batch.esn_arguments if sa.esn else batch.arguments))
        except InvalidTag:
            batch.received[:] = batch.heads  # as it was, for trying them one by one
            return False
        window.accept_run(first, count)
        self._deliver(sa, batch, octets)
        return True

    def _batch(self, size: int, count: int) -> _Batch:
        batch = self._batches.get((size, count))
        if batch is None:
            if len(self._batches) >= _MOST_BATCHES:  # the sizes are the peer's choice: bound what they cost
                self._batches.clear()
            batch = self._batches[size, count] = _Batch(self._memory, size, count)
        self._rows.stride = batch.stride
        return batch

    def _is_run(self, sa: InboundSa, batch: _Batch, first: int) -> bool:
        """Whether all packets are this SA's, with numbers that count up from the first."""
        last = first + batch.count - 1
        if first >> 32 != last >> 32:
            return False
        np.add(batch.counting, np.uint32(first & 0xFFFFFFFF), out=batch.numbers)
        batch.heads[:] = batch.received
        batch.wanted_spis[:] = int.from_bytes(sa.spi, "big")
        batch.wanted_numbers[:] = batch.numbers
        octets = HEADER * batch.count
        return self._memory.heads[:octets] == self._memory.wanted[:octets]

    def _deliver(self, sa: InboundSa, batch: _Batch, octets: int) -> None:
        rows, count, end = self._rows, batch.count, batch.plain - 2
        rest = self._view[count * batch.size : octets]
        last = self._authenticate(sa, rest) if rest else None
        pads, next_headers = rows.octets(end, count), rows.octets(end + 1, count)
        if pads.count(pads[0]) < count or next_headers.count(next_headers[0]) < count or pads[0] > end:
            for row in range(count):
                self._coalescer.deliver_single(sa, bytes(rows.row(row, batch.plain)))
        elif next_headers[0] != DUMMY:
            lengths = [end - pads[0]] * count
            if last and self._append(last, lengths, next_headers[0]):
                last = None
            self._coalescer.deliver(sa, lengths, next_headers[0])
        if last:
            self._coalescer.deliver_single(sa, last)

    def _append(self, plain: bytes, lengths: list[int], next_header: int) -> bool:
        """Put a shorter packet into the row after the others, which it may continue, if it is of their kind."""
        row, length = len(lengths), len(plain) - 2 - plain[-2]
        if plain[-1] != next_header or not 0 < length < lengths[0] or row >= MOST_ROWS:
            return False
        self._rows.row(row, length)[:] = plain[:length]
        lengths.append(length)
        return True

    def _authenticate(self, sa: InboundSa, packet: memoryview) -> bytes | None:
        """The decrypted payload of one packet; None if it is a replay, not authentic or too much, which is counted."""
        if sa.meter.used_up:
            sa.row.dropped("exhausted")
            return None
        if len(packet) < HEADER + sa.cipher.iv_size + sa.cipher.icv_size + 2:
            sa.row.dropped("malformed")
            return None
        number = sa.window.infer(int.from_bytes(packet[4:8], "big"))
        if not sa.window.fresh(number):
            sa.row.dropped("replay")
            return None
        try:
            plain = sa.cipher.open(packet, number)
        except InvalidTag:
            sa.row.dropped("integrity")
            return None
        sa.window.accept(number)
        return plain

    def open(self, sa: InboundSa, packet: memoryview) -> bool:
        """Deliver one packet. False when it is a replay, not authentic, or more than the SA may carry."""
        plain = self._authenticate(sa, packet)
        if plain is not None:
            self._coalescer.deliver_single(sa, plain)
        return plain is not None
