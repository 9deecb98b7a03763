"""Writing decrypted packets to the TUN, consecutive TCP segments of one connection as one super packet.

A write costs as much as two encryptions, and TCP's work in the kernel comes on top, per packet; a super packet pays
once. Rows are compared and checked in columns. The TCP checksum of the super packet is derived from those of its
segments, without touching the payload: so the kernel still verifies what the original sender summed, octet by octet.
"""

from __future__ import annotations

import itertools
import os
import struct
from typing import Final

import numpy as np

from ikeclone_esp.associations import InboundSa
from ikeclone_esp.checksum import (
    CWR,
    DATA_OFFSET,
    FIN,
    FLAGS,
    IPV4_HEADER,
    IPV6_HEADER,
    MODULUS,
    PSH,
    RST,
    SEQUENCE,
    SYN,
    TCP,
    TCP_CHECKSUM,
    URG,
    checksum,
    ones_sum,
    pseudo_sum,
)
from ikeclone_esp.ciphers import DUMMY, IPV4, IPV6, strip
from ikeclone_esp.rows import Rows
from ikeclone_esp.tun import GSO_TCPV4, GSO_TCPV6, PLAIN, VNET

_VERSIONS: Final = {IPV4: 4, IPV6: 6}
_U16: Final = struct.Struct(">H")
_ALONE: Final = FIN | SYN | RST | URG | CWR  # packets with these flags are never merged
_MOST_SHAPES: Final = 256


class _Shape:
    """The columns of `count` rows that hold TCP segments of one size: what must be equal, what must count up."""

    def __init__(self, rows: Rows, count: int, version: int, header: int, length: int) -> None:
        ip = IPV4_HEADER if version == 4 else IPV6_HEADER
        self.count, self.version, self.ip_header = count, version, ip
        self.header, self.length, self.mss = header, length, length - header
        self.length_offset, self.length_field = (2, length) if version == 4 else (4, length - IPV6_HEADER)
        self.words = rows.column(0, count, header // 4, "<u4")
        self.sequences = rows.column(ip + SEQUENCE, count, 1, ">u4")[:, 0]
        self.lengths = rows.column(self.length_offset, count, 1, ">u2")[:, 0]
        self.flags = rows.column(ip + FLAGS, count, 1, np.uint8)[:, 0]
        self.ip_words = rows.column(0, count, IPV4_HEADER // 2, "<u2")
        self.tcp_checksums = rows.column(ip + TCP_CHECKSUM, count, 1, ">u2")[:, 0]
        self.mask = np.frombuffer(_mask(version, header), "<u4")
        self.offsets = (np.arange(count, dtype=np.uint64) * self.mss).astype(np.uint32)
        self.payloads = [rows.row(row, length)[header:] for row in range(count)]
        self.first_words, self.next_words, self.preceding_words = self.words[0], self.words[1:], self.words[:-1]
        self.difference = np.empty((count - 1, header // 4), np.uint32)
        self.differing = np.empty(header // 4, np.uint32)
        self.sums, self.relative = np.empty(count, np.uint32), np.empty(count, np.uint32)


def _mask(version: int, header: int) -> bytes:
    """Ones where the headers of one connection's segments must agree; of the flags, PSH may differ."""
    mask = bytearray(b"\xff" * header)
    ip = IPV4_HEADER if version == 4 else IPV6_HEADER
    differing = [(2, 2), (4, 2), (10, 2)] if version == 4 else [(4, 2)]  # length, identification, checksum
    for start, octets in [*differing, (ip + SEQUENCE, 4), (ip + TCP_CHECKSUM, 2)]:
        mask[start : start + octets] = bytes(octets)
    mask[ip + FLAGS] = 0xFF & ~PSH
    return bytes(mask)


class Coalescer:
    """Delivers the inner packets that `rows` holds to a TUN queue."""

    def __init__(self, tun: int, rows: Rows) -> None:
        self._tun, self._rows = tun, rows
        self._shapes: dict[tuple[int, int, int, int, int], _Shape] = {}
        self._vnet = bytearray(VNET.size)

    def deliver(self, sa: InboundSa, lengths: list[int], next_header: int) -> None:
        """Write the packets of these lengths, one a row; all but the last are equally long."""
        count, length = len(lengths), lengths[0]
        shape = self._shape(count, length) if count > 1 else None
        if shape is None:
            for row in range(count):
                self._write_single(sa, row, lengths[row], next_header)
            return
        for first, end in self._runs(shape, lengths[-1]):
            if end - first == 1:
                self._write_single(sa, first, lengths[first], next_header)
            elif self._admit(sa, self._rows.row(first, length), next_header, end - first):
                self._write_run(sa, shape, first, end, lengths[end - 1])

    def deliver_single(self, sa: InboundSa, plain: bytes) -> None:
        """Write one packet that still has its ESP trailer."""
        try:
            length, next_header = strip(plain)
        except ValueError:
            sa.row.dropped("malformed")
            return
        packet = memoryview(plain)[:length]
        if next_header != DUMMY and self._admit(sa, packet, next_header, 1):
            self._write(sa, [PLAIN, packet], 1, length)

    def _shape(self, count: int, length: int) -> _Shape | None:
        """The shape of the first row if it is a TCP segment that may be merged with others."""
        packet = self._rows.row(0, length)
        if length > IPV4_HEADER + 20 and packet[0] == 0x45 and packet[9] == TCP:
            version, ip = 4, IPV4_HEADER
            if (packet[6] << 8 | packet[7]) & 0x3FFF:  # a fragment
                return None
        elif length > IPV6_HEADER + 20 and packet[0] >> 4 == 6 and packet[6] == TCP:
            version, ip = 6, IPV6_HEADER
        else:
            return None
        header = ip + (packet[ip + DATA_OFFSET] >> 4) * 4
        # An odd MSS would put every other payload at odd places of the checksum's words.
        if header < ip + 20 or length <= header or (length - header) & 1:
            return None
        key = (self._rows.stride, count, version, header, length)
        if key not in self._shapes:
            if len(self._shapes) >= _MOST_SHAPES:
                self._shapes.clear()
            self._shapes[key] = _Shape(self._rows, count, version, header, length)
        return self._shapes[key]

    def _is_one_run(self, shape: _Shape, last: int) -> bool:
        """Whether all rows are consecutive segments: the usual case, in the fewest steps."""
        octets, others = self._rows.octets, shape.count - 1
        flags = octets(shape.ip_header + FLAGS, shape.count)
        if flags[0] & (_ALONE | PSH) or flags.count(flags[0], 0, -1) < others:
            return False
        field, offset = shape.length_field, shape.length_offset
        high, low = octets(offset, shape.count), octets(offset + 1, shape.count)
        if high.count(field >> 8, 0, -1) < others or low.count(field & 0xFF, 0, -1) < others:
            return False
        if high[-1] << 8 | low[-1] != field - shape.length + last or last <= shape.header:
            return False
        np.bitwise_xor(shape.next_words, shape.first_words, out=shape.difference)
        differing = np.bitwise_or.reduce(shape.difference, 0, out=shape.differing)
        np.bitwise_and(differing, shape.mask, out=differing)
        if differing.tobytes().strip(b"\0"):
            return False
        relative = np.subtract(shape.sequences, shape.offsets, out=shape.relative, casting="unsafe").tobytes()
        if relative != relative[:4] * shape.count:
            return False
        return shape.version == 6 or not self._ip_sums(shape).tobytes().strip(b"\0")

    @staticmethod
    def _ip_sums(shape: _Shape) -> np.ndarray:
        """The sums of the rows' IPv4 headers: zero for a correct one."""
        np.add.reduce(shape.ip_words, 1, dtype=np.uint32, out=shape.sums)
        return np.remainder(shape.sums, MODULUS, out=shape.sums)

    def _runs(self, shape: _Shape, last: int) -> list[tuple[int, int]]:
        """Cut the rows into runs of consecutive segments; a row that fits no other is a run by itself."""
        if self._is_one_run(shape, last):
            return [(0, shape.count)]
        good = shape.lengths == shape.length_field
        if last != shape.length:
            field = shape.length_field - shape.length + last
            good[-1] = last > shape.header and int(shape.lengths[-1]) == field
        good &= shape.flags & _ALONE == 0
        if shape.version == 4:
            good &= self._ip_sums(shape) == 0
        difference = np.bitwise_xor(shape.next_words, shape.preceding_words, out=shape.difference)
        np.bitwise_and(difference, shape.mask, out=difference)
        relative = np.subtract(shape.sequences, shape.offsets, out=shape.relative, casting="unsafe")
        joined = good[1:] & good[:-1] & (relative[1:] == relative[:-1]) & (shape.flags[:-1] & PSH == 0)
        joined &= ~difference.any(1)
        cuts = [0, *(np.flatnonzero(~joined) + 1).tolist(), shape.count]
        return list(itertools.pairwise(cuts))

    def _admit(self, sa: InboundSa, packet: memoryview, next_header: int, packets: int) -> bool:
        """Check what the SA is for before anything of it enters the system."""
        try:
            if packet[0] >> 4 != _VERSIONS[next_header]:
                raise ValueError("the next header says otherwise")
            admitted = sa.admits(packet)
        except (ValueError, LookupError):
            sa.row.dropped("malformed", packets)
            return False
        if not admitted:
            sa.row.dropped("selectors", packets)
        return admitted

    def _write_single(self, sa: InboundSa, row: int, length: int, next_header: int) -> None:
        packet = self._rows.row(row, length)
        if self._admit(sa, packet, next_header, 1):
            self._write(sa, [PLAIN, packet], 1, length)

    def _write_run(self, sa: InboundSa, shape: _Shape, first: int, end: int, last: int) -> None:
        """Write rows first..end-1, the last of which is `last` octets long, as one super packet."""
        count, ip, header = end - first, shape.ip_header, shape.header
        head = self._rows.row(first, header)
        final = self._rows.row(end - 1, last)
        payload = (count - 1) * shape.mss + last - header
        push = final[ip + FLAGS] & PSH
        value = self._derive_checksum(shape, first, end, payload, push)

        head[ip + FLAGS] |= push
        _U16.pack_into(head, ip + TCP_CHECKSUM, value)
        total = header + payload
        if shape.version == 4:
            _U16.pack_into(head, 2, total)
            _U16.pack_into(head, 10, 0)
            _U16.pack_into(head, 10, checksum(ones_sum(head[:ip])))
        else:
            _U16.pack_into(head, 4, total - ip)
        kind = GSO_TCPV4 if shape.version == 4 else GSO_TCPV6
        VNET.pack_into(self._vnet, 0, 0, kind, header, shape.mss, 0, 0)
        rows = self._rows
        middle = shape.payloads[first + 1 : end - 1]
        vector: list[bytes | bytearray | memoryview] = [
            self._vnet,
            rows.row(first, shape.length),
            *middle,
            final[header:],
        ]
        self._write(sa, vector, count, total + (count - 1) * header)

    def _derive_checksum(self, shape: _Shape, first: int, end: int, payload: int, push: int) -> int:
        """The TCP checksum of the run, all sums modulo 65535.

        Each segment's pseudo header, header, payload and checksum sum up to zero, so the payloads' sum follows from
        the rest. `common` is what all segments and the super packet have in common.
        """
        count, ip, header = end - first, shape.ip_header, shape.header
        head = self._rows.row(first, header)
        sequence = int.from_bytes(head[ip + SEQUENCE : ip + SEQUENCE + 4], "big")
        stored = int(_U16.unpack_from(head, ip + TCP_CHECKSUM)[0])
        common = pseudo_sum(head, shape.version, TCP, 0) + ones_sum(head[ip:]) - sequence - stored
        transport_lengths = count * (header - ip) + payload
        sequences = int(np.add.reduce(shape.sequences[first:end], dtype=np.uint64))
        checksums = int(np.add.reduce(shape.tcp_checksums[first:end], dtype=np.uint32))
        payloads = -(count * common + transport_lengths + sequences + push + checksums)
        return checksum(common + header - ip + payload + sequence + push + payloads)

    def _write(self, sa: InboundSa, vector: list[bytes | bytearray | memoryview], packets: int, octets: int) -> None:
        # Counted first: who has got an answer and then looks finds it counted, however late this process runs again.
        sa.received(packets, octets)
        try:
            os.writev(self._tun, vector)
        except OSError:
            sa.row.dropped("device", packets)
