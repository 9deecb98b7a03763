"""The XDP program in the kernel, with whole frames."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from ikeclone.bpf import run
from ikeclone_steering.program import PASS, REDIRECT
from ikeclone_steering.xdp import Table

pytestmark = pytest.mark.root

SPI, OTHER = 0x12345678, 0x12345679
MACS = bytes(12)
ESP, UDP, TCP = 50, 17, 6


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table()
    table.put(SPI, 0)
    yield table
    table.close()


def esp(spi: int = SPI) -> bytes:
    return struct.pack(">II", spi, 1) + bytes(40)


def udp(payload: bytes, port: int = 4500, source: int = 4500) -> bytes:
    return struct.pack(">HHHH", source, port, 8 + len(payload), 0) + payload


def ipv4(protocol: int, payload: bytes, fragment: int = 0, options: bytes = b"") -> bytes:
    head = 0x45 + len(options) // 4
    fixed = struct.pack(">BBHHHBBH", head, 0, 20 + len(options) + len(payload), 1, fragment, 64, protocol, 0)
    return fixed + bytes((192, 1, 2, 45, 192, 1, 2, 23)) + options + payload


def ipv6(header: int, payload: bytes) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(payload), header, 64) + bytes(32) + payload


def frame(packet: bytes, *tags: int) -> bytes:
    kind = 0x0800 if packet[0] >> 4 == 4 else 0x86DD
    marks = b"".join(struct.pack(">HH", tag, 7) for tag in tags)
    return (MACS + marks + struct.pack(">H", kind) + packet).ljust(60, b"\0")


STEERED = {
    "ESP": frame(ipv4(ESP, esp())),
    "ESP behind options": frame(ipv4(ESP, esp(), options=bytes(12))),
    "ESP that may not be fragmented": frame(ipv4(ESP, esp(), fragment=0x4000)),
    "ESP over IPv6": frame(ipv6(ESP, esp())),
    "ESP in UDP": frame(ipv4(UDP, udp(esp()))),
    "ESP in UDP from a port of its own": frame(ipv4(UDP, udp(esp(), source=31337))),
    "ESP in UDP over IPv6": frame(ipv6(UDP, udp(esp()))),
    "ESP in a VLAN": frame(ipv4(ESP, esp()), 0x8100),
    "ESP in a service VLAN, over IPv6 in UDP": frame(ipv6(UDP, udp(esp())), 0x88A8),
}
PASSED = {
    "another SPI": frame(ipv4(ESP, esp(OTHER))),
    "another SPI in UDP": frame(ipv6(UDP, udp(esp(OTHER)))),
    "IKE": frame(ipv4(UDP, udp(struct.pack(">I", SPI) + bytes(40), port=500))),
    "IKE on port 4500": frame(ipv4(UDP, udp(bytes(4) + esp()))),
    "a keepalive with padding that looks like an SPI": frame(
        ipv4(UDP, udp(struct.pack(">I", SPI)[:1])) + struct.pack(">I", SPI)[1:] + bytes(20)
    ),
    "UDP to another port": frame(ipv4(UDP, udp(esp(), port=4501))),
    "TCP": frame(ipv4(TCP, esp())),
    "the first fragment": frame(ipv4(ESP, esp(), fragment=0x2000)),
    "a later fragment": frame(ipv4(ESP, esp(), fragment=0x0010)),
    "a fragment over IPv6": frame(ipv6(44, bytes((ESP, 0, 0, 1)) + bytes(4) + esp())),
    "two VLAN tags": frame(ipv4(ESP, esp()), 0x88A8, 0x8100),
    "a header length below 20": frame(b"\x44" + ipv4(ESP, esp())[1:]),
    "ARP": (MACS + b"\x08\x06" + ipv4(ESP, esp())),
}


@pytest.mark.parametrize("name", STEERED)
def test_what_is_for_a_clone_goes_to_its_cpu(table: Table, name: str) -> None:
    assert run(table.programs["native"], STEERED[name]) == REDIRECT


@pytest.mark.parametrize("name", PASSED)
def test_everything_else_passes(table: Table, name: str) -> None:
    assert run(table.programs["native"], PASSED[name]) == PASS


@pytest.mark.parametrize("name", ["ESP", "ESP in UDP over IPv6", "ESP in a VLAN"])
def test_what_is_cut_short_passes(table: Table, name: str) -> None:
    """The kernel wants at least an Ethernet header; 8 octets of ESP behind the other headers are enough."""
    whole = STEERED[name]
    spi = whole.index(struct.pack(">I", SPI))
    for length in range(14, len(whole)):
        assert run(table.programs["native"], whole[:length]) == (REDIRECT if length >= spi + 8 else PASS)


def test_an_spi_that_was_removed_passes(table: Table) -> None:
    table.remove(SPI)
    assert run(table.programs["native"], STEERED["ESP"]) == PASS
    table.remove(OTHER)
    assert len(table) == 0
