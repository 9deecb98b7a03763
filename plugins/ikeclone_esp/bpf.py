"""The BPF programs that bring each packet to the worker it belongs to.

Outbound, the TUN asks an eBPF program for a packet's queue: the one of the CPU that sends it. Inbound, classic BPF
programs look at the SPI: `SPI mod workers` is the worker that allocated it.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from socket import SOL_SOCKET, AddressFamily, socket
from typing import Final

from ikeclone.bpf import Code, Jump, Program, ProgramType, Reg

_SO_ATTACH_FILTER: Final = 26
_SO_ATTACH_REUSEPORT_CBPF: Final = 51

# opcodes: class | size or operation | mode or source
_LD_WORD, _LD_WORD_AT_X, _LDX_IP_HEADER = 0x20, 0x40, 0xB1
_ADD, _MOD, _RETURN, _RETURN_A, _JUMP_IF = 0x04, 0x94, 0x06, 0x16, 0x15
_GET_SMP_PROCESSOR_ID: Final = 8

Instruction = tuple[int, int, int, int]  # classic: opcode, jump if true, jump if false, constant


def queue_of_cpu(queues: Mapping[int, int]) -> bytes:
    """eBPF: the TUN queue for the running CPU; CPU numbers may have gaps, so each gets a comparison.

    A CPU that has come online since gets some queue: the TUN takes the returned number modulo its queues.
    """
    code = Code()
    code.call(_GET_SMP_PROCESSOR_ID)
    for cpu, queue in queues.items():
        if cpu != queue:
            code.jump(Jump.NE, Reg.R0, cpu, f"not {cpu}")
            code.move(Reg.R0, queue)
            code.exit()
            code.label(f"not {cpu}")
    code.exit()
    return code.octets()


def load(code: bytes) -> int:
    """Load an eBPF program that chooses a queue; returns its descriptor. Raises OSError where that is refused."""
    return Program(ProgramType.SOCKET_FILTER, code).fd


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


def nothing() -> tuple[Instruction, ...]:
    """Classic BPF for a socket that wants no packet."""
    return ((_RETURN, 0, 0, 0),)


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
