"""The BPF programs that bring each packet to the worker it belongs to.

Outbound, the TUN asks an eBPF program for a packet's queue: the one of the CPU that sends it. Inbound, classic BPF
programs look at the SPI: `SPI mod workers` is the worker that allocated it.
"""

from __future__ import annotations

from collections.abc import Mapping
from socket import AddressFamily
from typing import Final

from ikeclone.bpf import Code, Jump, Program, ProgramType, Reg
from ikeclone.bpf.classic import (
    ADD,
    IF_EQUAL,
    INDEX_IP_HEADER,
    LOAD_AT_INDEX,
    LOAD_WORD,
    MOD,
    RETURN,
    RETURN_A,
    WHOLE,
    Instruction,
)

_GET_SMP_PROCESSOR_ID: Final = 8


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
        (LOAD_WORD, 0, 0, 0),
        (IF_EQUAL, 2, 0, 0),  # the non-ESP marker (RFC 3948 section 2.2)
        (MOD, 0, 0, workers),
        (ADD, 0, 0, 1),
        (RETURN_A, 0, 0, 0),
    )


def only_worker(family: AddressFamily, worker: int, workers: int) -> tuple[Instruction, ...]:
    """Classic BPF for a raw socket: take the ESP packets of one worker's SPIs.

    An IPv4 raw socket sees the IP header first, an IPv6 one does not.
    """
    load_spi: tuple[Instruction, ...] = ((LOAD_WORD, 0, 0, 0),)
    if family == AddressFamily.AF_INET:
        load_spi = ((INDEX_IP_HEADER, 0, 0, 0), (LOAD_AT_INDEX, 0, 0, 0))
    return (
        *load_spi,
        (MOD, 0, 0, workers),
        (IF_EQUAL, 0, 1, worker),
        (RETURN, 0, 0, WHOLE),
        (RETURN, 0, 0, 0),
    )


def nothing() -> tuple[Instruction, ...]:
    """Classic BPF for a socket that wants no packet."""
    return ((RETURN, 0, 0, 0),)
