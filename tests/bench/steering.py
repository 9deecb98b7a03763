"""What steering costs: `python -m tests.bench.steering`, as root.

First the programs alone, in nanoseconds a packet. Then datagrams between two namespaces, sent on one CPU as fast as
that goes, with and without the program that takes each to another CPU: how many of them come as far as UDP.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address

from ikeclone.bpf import Map, MapType, Program, ProgramType, duration
from ikeclone.steering import Arrival, Choice, Path, Settings
from ikeclone_steering.program import to_cpu_of_spi
from ikeclone_steering.spread import to_cpu_of_flow
from ikeclone_steering.steering import KernelSteering
from tests.dataplane.netns import Namespace, connect

SPI, ROUNDS, SECONDS, RUNS = 0x1000, 7, 1.0, 1_000_000
PATH = Path(ip_address("198.51.100.1"), ip_address("198.51.100.2"))
_SO_NO_CHECK = 11
_IPV4 = struct.pack(">BBHHHBBH", 0x45, 0, 1400, 1, 0, 64, 50, 0) + PATH.remote.packed + PATH.local.packed
ESP = bytes(12) + b"\x08\x00" + _IPV4 + struct.pack(">II", SPI, 1) + bytes(1372)
ESP_OF_OTHERS = ESP.replace(struct.pack(">I", SPI), struct.pack(">I", SPI + 1))
UDP = ESP[:23] + b"\x11" + ESP[24:]  # the protocol is 17


def programs() -> Iterator[tuple[str, int]]:
    """Nanoseconds of each program for a packet."""
    with ExitStack() as stack:
        spis = Map(MapType.HASH, 1 << 16, "bench_spis", 1)
        cpus, slots = Map(MapType.CPUMAP, 2, "bench_cpus"), Map(MapType.ARRAY, 2, "bench_slots")
        for each in (spis, cpus, slots):
            stack.callback(each.close)
        cpus.put(struct.pack("=I", 0), 2048)
        spis.put(SPI.to_bytes(4, "big"), 0)
        steer = Program(ProgramType.XDP, to_cpu_of_spi(spis, cpus), "bench_steer")
        spread = Program(ProgramType.XDP, to_cpu_of_flow(slots, 2, cpus), "bench_spread")
        stack.callback(steer.close)
        stack.callback(spread.close)
        yield "ESP of a clone to its CPU", duration(steer, ESP, RUNS)
        yield "ESP that passes", duration(steer, ESP_OF_OTHERS, RUNS)
        yield "plaintext spread by addresses and ports", duration(spread, UDP, RUNS)


@contextmanager
def steered(receiver: Namespace, choice: Choice, cpu: int) -> Iterator[None]:
    """With the SPI's packets brought to a CPU."""
    steering = KernelSteering(Settings(choice))
    receiver.call(steering.start())
    receiver.call(steering.steer(Arrival(SPI, cpu, PATH, encapsulated=True)))
    yield
    receiver.call(steering.stop())


def rate(sender: Namespace, receiver: Namespace, cpu: int) -> float:
    """Datagrams a second that reach UDP."""
    before = _received(receiver)
    sender.call(_send(cpu))
    return (_received(receiver) - before) / SECONDS


async def _send(cpu: int) -> None:
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        sock.connect((str(PATH.local), 4500))
        datagram, end = struct.pack(">II", SPI, 1) + bytes(1000), time.monotonic() + SECONDS
        while time.monotonic() < end:
            for _ in range(100):
                try:
                    sock.send(datagram)
                except ConnectionRefusedError:  # nobody listens, which the receiver says now and then
                    continue
    os.sched_setaffinity(0, everywhere)


def _received(namespace: Namespace) -> int:
    """Datagrams that have come as far as UDP, whether anybody wanted them or not."""
    titles, values = (line.split() for line in namespace.run("cat", "/proc/net/snmp").splitlines() if "Udp:" in line)
    counted = dict(zip(titles, values, strict=True))
    return sum(int(counted[title]) for title in ("InDatagrams", "NoPorts", "InErrors"))


def main() -> int:
    for name, nanoseconds in programs():
        print(f"{name}: {nanoseconds} ns")  # noqa: T201
    here, *others = sorted(os.sched_getaffinity(0))
    if not others:
        print("one CPU: nothing to steer to")  # noqa: T201
        return 1
    receiver, sender = Namespace(), Namespace()
    connect(receiver, sender, [("198.51.100.1/24", "198.51.100.2/24")])
    found: dict[Choice, list[float]] = {Choice.NO: [], Choice.XDP: []}
    for _ in range(ROUNDS):
        found[Choice.NO].append(rate(sender, receiver, here))
        with steered(receiver, Choice.XDP, others[0]):
            found[Choice.XDP].append(rate(sender, receiver, here))
    plain, redirected = (statistics.median(rates) for rates in found.values())
    ratio = redirected / plain
    print(f"without: {plain:,.0f} packets/s, to another CPU: {redirected:,.0f} packets/s, ratio {ratio:.2f}")  # noqa: T201
    receiver.close()
    sender.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
