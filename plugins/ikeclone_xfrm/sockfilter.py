"""Filters for sockets, in classic BPF: which messages one gets (linux/bpf_common.h, linux/filter.h)."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import Final

from ikeclone_xfrm.numbers import SO_ATTACH_FILTER

LOAD_NUMBER, LOAD_WORD, LOAD_HALF, LOAD_OCTET, LOAD_AT_INDEX = 0x00, 0x20, 0x28, 0x30, 0x40
INDEX_NUMBER, INDEX_A, AND, IF_EQUAL, RETURN = 0x01, 0x07, 0x54, 0x15, 0x06
FIND_ATTRIBUTE: Final = 0xFFFFF000 + 12  # SKF_AD_OFF + SKF_AD_NLATTR: A is where to begin, X the type; 0 if absent
WHOLE: Final = 0xFFFFFFFF

# An operation, how far to jump if so and if not, and its operand.
Instruction = tuple[int, int, int, int]


def as_loaded(number: int, size: int = 4) -> int:
    """BPF loads big-endian numbers; netlink's are the machine's."""
    return int.from_bytes(struct.pack("=I" if size == 4 else "=H", number), "big")


def attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Filter what this socket gets from now on; raises OSError."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    # struct sock_fprog: a count, padding, a pointer
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
