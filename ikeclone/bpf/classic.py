"""Classic BPF: small programs that say which messages a socket gets (linux/bpf_common.h, linux/filter.h)."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from socket import SOL_SOCKET, socket
from typing import Final

# Opcodes: class | size or operation | mode or source
LOAD_NUMBER, LOAD_WORD, LOAD_HALF, LOAD_OCTET, LOAD_AT_INDEX = 0x00, 0x20, 0x28, 0x30, 0x40
INDEX_NUMBER, INDEX_A, INDEX_IP_HEADER = 0x01, 0x07, 0xB1
ADD, AND, MOD, IF_EQUAL, RETURN, RETURN_A = 0x04, 0x54, 0x94, 0x15, 0x06, 0x16
FIND_ATTRIBUTE: Final = 0xFFFFF000 + 12  # SKF_AD_OFF + SKF_AD_NLATTR: A is where to begin, X the type; 0 if absent
WHOLE: Final = 0xFFFFFFFF

_SO_ATTACH_FILTER: Final = 26
_SO_ATTACH_REUSEPORT_CBPF: Final = 51

# An opcode, how far to jump if so and if not, and a constant.
Instruction = tuple[int, int, int, int]


def as_loaded(number: int, size: int = 4) -> int:
    """BPF loads big-endian numbers of `size` octets; netlink's are the machine's."""
    return int.from_bytes(struct.pack({2: "=H", 4: "=I"}[size], number), "big")


def filter_socket(sock: socket, program: Sequence[Instruction]) -> None:
    """Let a socket receive only what the program returns non-zero for; raises OSError."""
    _attach(sock, _SO_ATTACH_FILTER, program)


def steer_group(member: socket, program: Sequence[Instruction]) -> None:
    """Give the SO_REUSEPORT group of a socket the program that chooses among its members; raises OSError."""
    _attach(member, _SO_ATTACH_REUSEPORT_CBPF, program)


def _attach(sock: socket, option: int, program: Sequence[Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a count and a pointer, aligned as the machine aligns pointers
    sock.setsockopt(SOL_SOCKET, option, struct.pack("@HP", len(program), ctypes.addressof(instructions)))
