"""The BPF programs that bring each packet to the worker it belongs to.

Outbound, the TUN asks an eBPF program for a packet's queue: the one of the CPU that sends it. Inbound, classic BPF
programs look at the SPI: `SPI mod workers` is the worker that allocated it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from socket import SOL_SOCKET, AddressFamily, socket
from typing import Final

_BPF_PROG_LOAD: Final = 5
_PROG_TYPE_SOCKET_FILTER: Final = 1
_SYSCALL_BPF: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_SO_ATTACH_FILTER: Final = 26
_SO_ATTACH_REUSEPORT_CBPF: Final = 51

# opcodes: class | size or operation | mode or source
_LD_WORD, _LD_WORD_AT_X, _LDX_IP_HEADER = 0x20, 0x40, 0xB1
_ADD, _MOD, _RETURN, _RETURN_A, _JUMP_IF = 0x04, 0x94, 0x06, 0x16, 0x15
_E_CALL, _E_EXIT, _E_MOVE, _E_JUMP_UNLESS = 0x85, 0x95, 0xB7, 0x55
_GET_SMP_PROCESSOR_ID: Final = 8

Instruction = tuple[int, int, int, int]  # classic: opcode, jump if true, jump if false, constant


def queue_of_cpu(queues: Mapping[int, int]) -> bytes:
    """eBPF: the TUN queue for the running CPU; CPU numbers may have gaps, so each gets a comparison.

    A CPU that has come online since gets some queue: the TUN takes the returned number modulo its queues.
    """
    code = [_extended(_E_CALL, 0, 0, _GET_SMP_PROCESSOR_ID)]
    for cpu, queue in queues.items():
        if cpu != queue:
            code += [_extended(_E_JUMP_UNLESS, 0, 2, cpu), _extended(_E_MOVE, 0, 0, queue), _extended(_E_EXIT)]
    return b"".join([*code, _extended(_E_EXIT)])


def _extended(opcode: int, register: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, register, offset, constant)


def load(code: bytes) -> int:
    """Load an eBPF program into the kernel; returns its descriptor. Raises OSError where that is refused."""
    number = _SYSCALL_BPF.get(platform.machine())
    if number is None:
        raise OSError(0, f"the number of bpf(2) on {platform.machine()} is not known")
    instructions, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"Apache-2.0")
    attributes = struct.pack(
        "=IIQQ104x",
        _PROG_TYPE_SOCKET_FILTER,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
    )
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.syscall(number, _BPF_PROG_LOAD, ctypes.create_string_buffer(attributes, 128), 128)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def member_of_spi(workers: int) -> tuple[Instruction, ...]:
    """Classic BPF for a SO_REUSEPORT group: member 0 for IKE and keepalives, else 1 + SPI mod `workers`.

    It sees the UDP payload. A load beyond its end, as of a keepalive, ends the program with 0.
    """
    return (
        (_LD_WORD, 0, 0, 0),
        (_JUMP_IF, 2, 0, 0),  # the non-ESP marker (RFC 3948 section 2.2)
        (_MOD, 0, 0, workers),
        (_ADD, 0, 0, 1),
        (_RETURN_A, 0, 0, 0),
    )


def only_worker(family: AddressFamily, worker: int, workers: int) -> tuple[Instruction, ...]:
    """Classic BPF for a raw socket: take the ESP packets of one worker's SPIs.

    An IPv4 raw socket sees the IP header first, an IPv6 one does not.
    """
    load_spi: tuple[Instruction, ...] = ((_LD_WORD, 0, 0, 0),)
    if family == AddressFamily.AF_INET:
        load_spi = ((_LDX_IP_HEADER, 0, 0, 0), (_LD_WORD_AT_X, 0, 0, 0))
    return (
        *load_spi,
        (_MOD, 0, 0, workers),
        (_JUMP_IF, 0, 1, worker),
        (_RETURN, 0, 0, 0xFFFFFFFF),
        (_RETURN, 0, 0, 0),
    )


def steer_group(member: socket, program: Sequence[Instruction]) -> None:
    """Give the SO_REUSEPORT group of a socket the program that chooses among its members."""
    _attach(member, _SO_ATTACH_REUSEPORT_CBPF, program)


def filter_socket(sock: socket, program: Sequence[Instruction]) -> None:
    """Let a socket receive only what the program returns non-zero for."""
    _attach(sock, _SO_ATTACH_FILTER, program)


def _attach(sock: socket, option: int, program: Sequence[Instruction]) -> None:
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    instructions = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a count and a pointer, aligned as the machine aligns pointers
    sock.setsockopt(SOL_SOCKET, option, struct.pack("@HP", len(program), ctypes.addressof(instructions)))
