"""The BPF programs: their code, and what the kernel does with the classic ones."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import ExitStack

import pytest

from ikeclone.backend import BackendError
from ikeclone_esp import bpf, sockets


def test_queue_of_cpu_with_gaps() -> None:
    code = bpf.queue_of_cpu({0: 0, 2: 1, 7: 2})
    instructions = [struct.unpack_from("<BBhi", code, i) for i in range(0, len(code), 8)]
    assert instructions[0] == (0x85, 0, 0, 8)  # call bpf_get_smp_processor_id
    assert instructions[-1] == (0x95, 0, 0, 0)  # exit
    for cpu, queue in ((0, 0), (2, 1), (7, 2), (5, 5)):
        assert run(instructions[1:], cpu) == queue


def run(instructions: list[tuple[int, ...]], r0: int) -> int:
    """What the program returns after the call, for the three instructions it is made of."""
    position = 0
    while True:
        opcode, _, offset, constant = instructions[position]
        position += 1
        if opcode == 0x95:
            return r0
        if opcode == 0xB7:
            r0 = constant
        elif opcode == 0x55:
            position += offset if r0 != constant else 0
        else:
            raise AssertionError(f"opcode {opcode:#x}")


@pytest.mark.root
def test_the_kernel_takes_the_program() -> None:
    os.close(bpf.load(bpf.queue_of_cpu({3: 0, 200: 1})))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("workers", [1, 3])
def test_each_packet_finds_its_socket(host: str, workers: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        first = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        first.bind((host, 0))
        members = [first, *map(stack.enter_context, sockets.encapsulated(first, workers))]
        client = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        for member in members:
            member.settimeout(5)
        for message in (b"\xff", bytes(4), bytes(4) + b"IKE", b"\x01\x02", bytes(28)):
            client.sendto(message, first.getsockname()[:2])
            assert first.recv(100) == message
        for spi in (256, 257, 258, 0x80000001, 0xFFFFFFFF):
            packet = spi.to_bytes(4, "big") + bytes(40)
            client.sendto(packet, first.getsockname()[:2])
            assert members[1 + spi % workers].recv(100) == packet


def test_a_socket_that_shares_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first:
        first.bind(("127.0.0.1", 0))
        with pytest.raises(BackendError, match="is in use"):
            sockets.encapsulated(first, 2)


def test_raw_filter_looks_behind_ipv4_options() -> None:
    program = bpf.only_worker(socket.AF_INET, 1, 4)
    assert [instruction[0] for instruction in program] == [0xB1, 0x40, 0x94, 0x15, 0x06, 0x06]
    assert bpf.only_worker(socket.AF_INET6, 1, 4)[0] == (0x20, 0, 0, 0)
