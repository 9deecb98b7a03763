"""The program that spreads packets over CPUs, with whole frames."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ikeclone.bpf import Map, MapType, Program, ProgramType, run
from ikeclone_steering.program import REDIRECT
from ikeclone_steering.spread import to_cpu_of_flow
from tests.unit.steering.test_program import ESP, MACS, TCP, UDP, frame, ipv4, ipv6

pytestmark = pytest.mark.root

SLOTS = 8
ICMP, FRAGMENT_HEADER = 1, 44


@pytest.fixture
def slot() -> Iterator[Callable[[bytes], int | None]]:
    """The slot that a frame falls into; None for one that passes."""
    with ExitStack() as stack:

        def kept(made: Map) -> Map:
            stack.callback(made.close)
            return made

        cpus = kept(Map(MapType.CPUMAP, 1, "test_cpus"))
        cpus.put(struct.pack("=I", 0), 64)
        programs = []
        for wanted in range(SLOTS):
            # Only this slot's CPU is in the map of CPUs; the others are answered with PASS.
            numbers = kept(Map(MapType.ARRAY, SLOTS, "test_slots"))
            for number in range(SLOTS):
                numbers.put(struct.pack("=I", number), 0 if number == wanted else 9)
            programs.append(Program(ProgramType.XDP, to_cpu_of_flow(numbers, SLOTS, cpus)))
            stack.callback(programs[-1].close)

        def find(octets: bytes) -> int | None:
            answers = [run(program, octets) for program in programs]
            assert answers.count(REDIRECT) <= 1
            return answers.index(REDIRECT) if REDIRECT in answers else None

        yield find


def ports(source: int, destination: int) -> bytes:
    return struct.pack(">HH", source, destination) + bytes(16)


@pytest.mark.parametrize("packet", [ipv4, ipv6])
@pytest.mark.parametrize("protocol", [TCP, UDP, 132])
def test_flows_are_spread_evenly(
    slot: Callable[[bytes], int | None], packet: Callable[[int, bytes], bytes], protocol: int
) -> None:
    flows = 400
    found = Counter(slot(frame(packet(protocol, ports(30000 + number, 443)))) for number in range(flows))
    assert set(found) == set(range(SLOTS))
    assert max(found.values()) < 2 * flows / SLOTS


def test_addresses_spread_too(slot: Callable[[bytes], int | None]) -> None:
    packet = ipv4(UDP, ports(1, 2))
    found = {slot(frame(packet[:15] + bytes([host]) + packet[16:])) for host in range(64)}
    assert found == set(range(SLOTS))


@pytest.mark.parametrize("tags", [(), (0x8100,), (0x88A8,)])
def test_a_flow_stays_where_it_is(slot: Callable[[bytes], int | None], tags: tuple[int, ...]) -> None:
    whole = ipv4(TCP, ports(1234, 443))
    with_options = ipv4(TCP, ports(1234, 443), options=bytes(8))
    longer = ipv4(TCP, ports(1234, 443) + bytes(500))
    assert slot(frame(whole, *tags)) == slot(frame(with_options)) == slot(frame(longer)) is not None


def test_packets_without_ports_go_by_their_addresses(slot: Callable[[bytes], int | None]) -> None:
    """Fragments as well: but for the first they have no ports."""
    alike = [ipv4(protocol, ports(number, 0)) for protocol in (ICMP, ESP) for number in range(4)]
    alike += [ipv4(UDP, ports(number, 0), fragment=offset) for number in range(4) for offset in (0x2000, 0x0010)]
    assert len({slot(frame(packet)) for packet in alike}) == 1
    assert len({slot(frame(ipv6(FRAGMENT_HEADER, ports(number, 0)))) for number in range(4)}) == 1


@pytest.mark.parametrize(
    "octets",
    [
        MACS + b"\x08\x06" + bytes(46),  # ARP
        frame(ipv4(UDP, ports(1, 2)), 0x88A8, 0x8100),
        frame(b"\x44" + ipv4(UDP, ports(1, 2))[1:]),
        (MACS + b"\x08\x00" + ipv4(UDP, ports(1, 2)))[: 14 + 20 + 3],
        (MACS + b"\x86\xdd" + ipv6(UDP, ports(1, 2)))[: 14 + 39],
    ],
)
def test_everything_else_passes(slot: Callable[[bytes], int | None], octets: bytes) -> None:
    assert slot(octets) is None
