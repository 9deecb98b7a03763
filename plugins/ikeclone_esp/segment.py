"""TCP segmentation: the headers of a super packet's rows, one column at a time.

One numpy assignment writes one header field of all rows; that costs less than a loop's first three turns.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from ikeclone_esp.checksum import (
    CWR,
    FIN,
    FLAGS,
    IPV6_HEADER,
    MODULUS,
    PSH,
    SEQUENCE,
    TCP,
    TCP_CHECKSUM,
    checksum,
    ones_sum,
    pseudo_sum,
)
from ikeclone_esp.frames import MOST_ROWS, Frames, Layout
from ikeclone_esp.tun import GSO_NONE, NEEDS_CHECKSUM

_U16: Final = struct.Struct(">H")
_ONLY_FIRST: Final = CWR  # RFC 3168 section 6.1.2
_ONLY_LAST: Final = FIN | PSH
_MOST_COLUMNS: Final = 256

_STEPS = np.arange(0x10000 + MOST_ROWS, dtype=np.uint32)
_IDENTIFICATIONS: Final = (_STEPS & 0xFFFF).astype(">u2")  # a slice from n: n, n+1, … modulo 65536
_CHECKSUMS: Final = (MODULUS - _STEPS % MODULUS).astype(">u2")  # a slice from n: the checksums of sums n, n+1, …


class _Columns:
    """The views of the first `rows` of a layout that segmentation writes; made once, since slicing costs too."""

    def __init__(self, layout: Layout, rows: int) -> None:
        ip = layout.ip_header
        self.header = layout.octets[0, : layout.header]
        self.headers = layout.octets[1:rows, : layout.header]
        self.identifications = layout.column(4, 1, ">u2")[:rows, 0]
        self.ip_checksums = layout.column(10, 1, ">u2")[:rows, 0]
        self.sequences = layout.column(ip + SEQUENCE, 1, ">u4")[:rows, 0]
        self.tcp_words = layout.column(ip, (layout.full - ip) // 2, "<u2")[:rows]
        self.odd = layout.octets[:rows, layout.full - 1] if (layout.full - ip) & 1 else None
        self.tcp_checksums = layout.column(ip + TCP_CHECKSUM, 1, "<u2")[:rows, 0]
        self.offsets = (np.arange(rows, dtype=np.uint64) * layout.mss).astype(np.uint32)
        self.sums = np.empty(rows, np.uint32)
        self.numbers = np.empty(rows, np.uint32)


class Segmenter:
    """Turns the frame in the memory into finished inner packets, one a row."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._columns: dict[tuple[Layout, int], _Columns] = {}

    def split(self) -> tuple[int, int]:
        """Finish the frame: how many rows it is, and the length of the last one in octets.

        A frame that is no super packet is one row of any length, with its checksum filled in.
        """
        frames = self._frames
        if frames.gso_type == GSO_NONE:
            if frames.flags & NEEDS_CHECKSUM:
                self._fill_checksum()
            return 1, frames.length
        layout = frames.layout
        payload = frames.length - layout.header
        rows = -(-payload // layout.mss)
        last = frames.length - (rows - 1) * layout.mss
        self._write_rows(layout, rows, last)
        return rows, last

    def _fill_checksum(self) -> None:
        """What a network card would do: sum from the start given, which includes the parked pseudo header sum."""
        frames = self._frames
        start, field = frames.checksum_start, frames.checksum_start + frames.checksum_offset
        if field + 2 <= frames.length:
            total = ones_sum(frames.view[start : frames.length])
            _U16.pack_into(frames.memory, field, checksum(total))

    def _columns_of(self, layout: Layout, rows: int) -> _Columns:
        columns = self._columns.get((layout, rows))
        if columns is None:
            if len(self._columns) >= _MOST_COLUMNS:
                self._columns.clear()
            columns = self._columns[layout, rows] = _Columns(layout, rows)
        return columns

    def _write_rows(self, layout: Layout, rows: int, last: int) -> None:
        columns = self._columns_of(layout, rows)
        memory, ip = layout.memory, layout.ip_header
        identification = memory[4] << 8 | memory[5]
        sequence = int.from_bytes(memory[ip + SEQUENCE : ip + SEQUENCE + 4], "big")
        flags = memory[ip + FLAGS]
        memory[ip + FLAGS] = flags & ~(_ONLY_FIRST | _ONLY_LAST)
        ip_sum = self._whole_row(layout)

        columns.headers[:] = columns.header
        if layout.version == 4:
            columns.identifications[:] = _IDENTIFICATIONS[identification : identification + rows]
            columns.ip_checksums[:] = _CHECKSUMS[ip_sum : ip_sum + rows]
            wrapped = 0x10000 - identification
            if wrapped < rows:  # from n+65535 to n the sum falls by 65535, not 65536: one less from here on
                columns.ip_checksums[wrapped:] = _CHECKSUMS[ip_sum + wrapped - 1 : ip_sum + rows - 1]
        np.add(columns.offsets, np.uint32(sequence), out=columns.numbers)
        columns.sequences[:] = columns.numbers
        sums = np.add.reduce(columns.tcp_words, 1, dtype=np.uint32, out=columns.sums)
        if columns.odd is not None:
            np.add(sums, columns.odd, out=sums)
        np.remainder(sums, MODULUS, out=sums)
        np.subtract(MODULUS, sums, out=sums)
        columns.tcp_checksums[:] = sums
        self._finish_ends(layout, rows, last, flags)

    def _finish_ends(self, layout: Layout, rows: int, last: int, flags: int) -> None:
        """Give the first and the last row the flags that are theirs alone, and the last one its length."""
        if last != layout.full:
            self._finish_row(layout, rows - 1, last)
        ip = layout.ip_header
        for row, own in ((0, flags & _ONLY_FIRST), (rows - 1, flags & _ONLY_LAST)):
            if own:
                head = layout.row(row, layout.header)
                head[ip + FLAGS] |= own
                old = _U16.unpack_from(head, ip + TCP_CHECKSUM)[0]
                # The flags are the low octet of their word, so that the sum grows by their value (RFC 1624).
                _U16.pack_into(head, ip + TCP_CHECKSUM, checksum(MODULUS - old + own))

    @staticmethod
    def _whole_row(layout: Layout) -> int:
        """Write the lengths of a whole segment into the first row and park the pseudo header's sum in its TCP
        checksum field, from where it joins the sum of each row. Returns the sum of the IPv4 header."""
        memory, ip = layout.memory, layout.ip_header
        if layout.version == 4:
            _U16.pack_into(memory, 2, layout.full)
            _U16.pack_into(memory, 10, 0)
        else:
            _U16.pack_into(memory, 4, layout.full - IPV6_HEADER)
        pseudo = pseudo_sum(layout.view, layout.version, TCP, layout.full - ip)
        _U16.pack_into(memory, ip + TCP_CHECKSUM, pseudo % MODULUS)
        return int.from_bytes(memory[:ip], "big") % MODULUS

    @staticmethod
    def _finish_row(layout: Layout, index: int, length: int) -> None:
        """Write a row of another length."""
        row, ip = layout.row(index, length), layout.ip_header
        if layout.version == 4:
            _U16.pack_into(row, 2, length)
            _U16.pack_into(row, 10, 0)
            _U16.pack_into(row, 10, checksum(ones_sum(row[:ip])))
        else:
            _U16.pack_into(row, 4, length - IPV6_HEADER)
        _U16.pack_into(row, ip + TCP_CHECKSUM, pseudo_sum(row, layout.version, TCP, length - ip) % MODULUS)
        _U16.pack_into(row, ip + TCP_CHECKSUM, checksum(ones_sum(row[ip:])))
