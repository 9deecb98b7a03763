"""What is read from the TUN: one packet or super packet with its virtio header, already cut into rows.

A TCP super packet is headers and up to 64 KB of payload. The read scatters it: headers and the first segment's
payload into the first row, each further segment's payload into a row of its own with room for headers before it and
an ESP trailer behind. The kernel copies anyway; so no octet of payload is copied by Python.
"""

from __future__ import annotations

import os
from typing import Final

import numpy as np

from ikeclone_esp.checksum import DATA_OFFSET, IPV4_HEADER
from ikeclone_esp.ciphers import IPV4, IPV6, trailer
from ikeclone_esp.tun import GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, VNET

LARGEST: Final = 65535
_VERSIONS: Final = {GSO_TCPV4: 4, GSO_TCPV6: 6}
MOST_ROWS: Final = 64  # UDP_MAX_SEGMENTS, and the TUN's gso_max_segs
_LARGEST_HEADER: Final = 176
_ALIGN: Final = 4  # ESP payload of the fast ciphers
# rows * stride: payload, one row more for the rest, and headers, trailer and rounding (80) of every row
_MEMORY: Final = 2 * LARGEST + MOST_ROWS * (_LARGEST_HEADER + 80)


class Layout:
    """Where the rows of super packets with these headers and this MSS lie. Sizes and offsets are in octets.

    `ip_header` is where TCP begins, `header` where its payload does; `full` is an inner packet of a whole segment,
    `plain` that with its ESP trailer, `stride` from row to row.
    """

    def __init__(self, memory: bytearray, version: int, ip_header: int, header: int, mss: int) -> None:
        self.version, self.ip_header, self.header, self.mss = version, ip_header, header, mss
        self.full = header + mss
        self.next_header = IPV4 if version == 4 else IPV6
        self.trailer = trailer(self.full, _ALIGN, self.next_header)
        self.plain = self.full + len(self.trailer)
        self.stride = -(-(self.plain + 8) // 64) * 64
        self.rows = min(MOST_ROWS, LARGEST // mss + 1)
        self.memory = memory
        self.view = view = memoryview(memory)
        self.payloads = [view[r * self.stride + header : r * self.stride + self.full] for r in range(self.rows)]
        self.octets = self.column(0, self.plain, np.uint8)
        self._trailer = np.frombuffer(self.trailer, np.uint8)

    def column(self, offset: int, count: int, dtype: object) -> np.ndarray:
        """A view of `count` numbers at this offset of every row."""
        kind = np.dtype(dtype)  # type: ignore[call-overload]
        strides = (self.stride, kind.itemsize)
        return np.ndarray((self.rows, count), kind, self.memory, offset, strides)

    def write_trailers(self, rows: int) -> None:
        """Put the ESP trailer behind each of the first rows: layouts share the memory, so they may be overwritten."""
        self.octets[:rows, self.full :] = self._trailer

    def row(self, index: int, length: int) -> memoryview:
        return self.view[index * self.stride : index * self.stride + length]


class Frames:
    """The frame being sent. `length` is that of the IP packet; the first headers start the memory in any case."""

    def __init__(self) -> None:
        self.memory = bytearray(_MEMORY)
        self.view = memoryview(self.memory)
        self._vnet = bytearray(VNET.size)
        self._spill = memoryview(bytearray(LARGEST))
        self._layouts: dict[tuple[int, int, int, int], Layout] = {}
        self._expected = b""
        self._expected_offset = 0
        self.length = 0
        self.flags = self.gso_type = self.gso_size = self.checksum_start = self.checksum_offset = 0
        self._scattered = False
        self._expect(4, IPV4_HEADER, 52, 1352)

    def _expect(self, version: int, ip_header: int, header: int, mss: int) -> None:
        """Guess that the next super packet is like this one, which is nearly always right."""
        key = (version, ip_header, header, mss)
        if key not in self._layouts:
            if len(self._layouts) >= 64:  # the MSS is any local program's choice: bound what it costs
                self._layouts.clear()
            self._layouts[key] = Layout(self.memory, *key)
        self.layout = self._layouts[key]
        self._expected = bytes(self._vnet)
        self._expected_offset = header - ip_header << 2
        first = self.view[: self.layout.full]
        self._vector: list[bytearray | memoryview] = [self._vnet, first, *self.layout.payloads[1:], self._spill]

    def read(self, fd: int) -> None:
        """Read the next frame of a TUN queue. Raises BlockingIOError when there is none."""
        self.length = os.readv(fd, self._vector) - VNET.size
        self._scattered = True
        self._unpack()
        if self.gso_type == GSO_NONE:
            if self.length > self.layout.full:
                self.load(self.octets())
        elif self._vnet != self._expected or self._data_offset() != self._expected_offset:
            self.load(self.octets())

    def _data_offset(self) -> int:
        return self.memory[self.checksum_start + DATA_OFFSET] & 0xF0

    def load(self, data: bytes | memoryview) -> None:
        """Take a frame as `octets` made it."""
        self._vnet[:] = data[: VNET.size]
        packet = memoryview(data)[VNET.size :]
        self.length = len(packet)
        self._unpack()
        if self.gso_type == GSO_NONE:
            self._scattered = False
            self.view[: self.length] = packet
            return
        self._expect(*self._shape(packet))
        self._scatter(packet)

    def _scatter(self, packet: memoryview) -> None:
        position = 0
        self._scattered = True
        for part in self._vector[1:]:
            piece = packet[position : position + len(part)]
            part[: len(piece)] = piece
            position += len(piece)

    def _unpack(self) -> None:
        fields = VNET.unpack(self._vnet)
        self.flags, gso_type, _, self.gso_size, self.checksum_start, self.checksum_offset = fields
        self.gso_type = gso_type & ~GSO_ECN

    def _shape(self, packet: memoryview) -> tuple[int, int, int, int]:
        """What tells layouts apart. Raises ValueError for a super packet of another kind than asked for."""
        version, tcp = _VERSIONS.get(self.gso_type), self.checksum_start
        if version is None or tcp < IPV4_HEADER or not self.gso_size or tcp + DATA_OFFSET >= len(packet):
            raise ValueError("a super packet of an unknown kind")
        header = tcp + (packet[tcp + DATA_OFFSET] >> 4) * 4
        if header > _LARGEST_HEADER or not 0 < self.length - header <= MOST_ROWS * self.gso_size:
            raise ValueError("a super packet without payload or of too many segments")
        return version, tcp, header, self.gso_size

    def packet(self) -> memoryview:
        """The beginning of the packet, the headers at least."""
        return self.view[: min(self.length, self.layout.full) if self._scattered else self.length]

    def octets(self) -> bytes:
        """The whole frame, virtio header first."""
        if not self._scattered:
            return bytes(self._vnet) + bytes(self.view[: self.length])
        return b"".join(self._vector)[: VNET.size + self.length]
