"""Flows of packets and the selectors that cover them."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikeclone.backend import TrafficSelector
from ikeclone_esp import flows
from ikeclone_esp.flows import Flow, Selectors
from tests.unit.esp.packets import VNET, Tcp, udp

A, B = int(IPv6Address("2001:db8:1::1")), int(IPv6Address("2001:db8:2::1"))


def ipv6(next_header: int, rest: bytes) -> bytes:
    return (
        struct.pack(">IHBB", 6 << 28, len(rest), next_header, 64) + A.to_bytes(16, "big") + B.to_bytes(16, "big") + rest
    )


def test_plain_packets() -> None:
    assert flows.parse(memoryview(udp(100, 53))) == Flow(4, 0x0A010001, 0x0A020001, 17, 53, 53)
    tcp = Tcp(b"x", 6).frame()[VNET.size :]
    assert flows.parse(memoryview(tcp)) == Flow(6, A, B, 6, 5000, 5201)


def test_selectors_of_a_packet() -> None:
    def shown(flow: Flow) -> list[str]:
        return list(map(str, flow.selectors()))

    assert shown(Flow(4, 0x0A010001, 0x0A020001, 17, 53, 80)) == ["10.1.0.1/32/17/53", "10.2.0.1/32/17/80"]
    assert shown(Flow(6, A, B, 58, 0x8000, 0x8000)) == ["2001:db8:1::1/128/58", "2001:db8:2::1/128/58"]
    assert shown(Flow(4, 0x0A010001, 0x0A020001, 6, None, None)) == ["10.1.0.1/32/6", "10.2.0.1/32/6"]


def test_extension_headers() -> None:
    ports = struct.pack(">HHHH", 1, 2, 8, 0)
    hop_by_hop, routing = bytes((60, 1)) + bytes(14), bytes((17, 0)) + bytes(6)
    assert flows.parse(memoryview(ipv6(0, hop_by_hop + routing + ports))) == Flow(6, A, B, 17, 1, 2)
    first, later = (bytes((17, 0)) + struct.pack(">HI", offset, 9) for offset in (1, 0x99))
    assert flows.parse(memoryview(ipv6(44, first + ports))) == Flow(6, A, B, 17, 1, 2)
    assert flows.parse(memoryview(ipv6(44, later + ports))) == Flow(6, A, B, 17, None, None)
    assert flows.parse(memoryview(ipv6(58, b"\x80\x00" + bytes(6)))) == Flow(6, A, B, 58, 0x8000, 0x8000)


def test_ipv4_fragments_have_no_ports() -> None:
    packet = bytearray(udp(100, 53))
    packet[6:8] = b"\x20\x00"
    assert flows.parse(memoryview(packet)).source_port == 53
    packet[6:8] = b"\x20\x10"
    assert flows.parse(memoryview(packet)).source_port is None
    assert flows.key(memoryview(packet)) != flows.key(memoryview(udp(100, 53)))


@given(st.binary(max_size=100))
def test_any_octets_parse_or_raise_value_error(data: bytes) -> None:
    for version in (4, 6):
        packet = memoryview(bytes([version << 4 | 5]) + data)
        try:
            assert hash(flows.key(packet)) == hash(flows.key(packet))
            assert flows.parse(packet).version == version
        except ValueError:
            continue


def selectors(local: TrafficSelector, remote: TrafficSelector) -> Selectors:
    return Selectors((local,), (remote,))


def test_selectors_know_their_direction() -> None:
    both = selectors(TrafficSelector.of(ip_network("10.1.0.0/24")), TrafficSelector.of(ip_network("10.2.0.0/24")))
    flow = flows.parse(memoryview(udp(100)))
    back = flow._replace(source=flow.destination, destination=flow.source)
    assert (both.outbound(flow), both.inbound(flow)) == (True, False)
    assert (both.outbound(back), both.inbound(back)) == (False, True)


@pytest.mark.parametrize(("selector", "covered"), [
    (TrafficSelector.of(ip_network("10.2.0.0/24"), 17, 53), True),
    (TrafficSelector.of(ip_network("10.2.0.0/24"), 17), True),
    (TrafficSelector.of(ip_network("10.2.0.0/24"), 6, 53), False),
    (TrafficSelector.of(ip_network("10.2.0.0/24"), 17, 54), False),
    (TrafficSelector.of(ip_network("10.2.0.2/31"), 17, 53), False),
    (TrafficSelector.of(ip_network("::/0")), False),
])  # fmt: skip
def test_protocol_and_port(selector: TrafficSelector, covered: bool) -> None:
    both = selectors(TrafficSelector.of(ip_network("0.0.0.0/0")), selector)
    assert both.outbound(flows.parse(memoryview(udp(100, 53)))) is covered


def test_a_fragment_needs_a_selector_of_all_ports() -> None:
    flow = flows.parse(memoryview(udp(100, 53)))._replace(source_port=None, destination_port=None)
    everything = TrafficSelector.of(ip_network("0.0.0.0/0"))
    assert selectors(everything, everything).outbound(flow)
    assert not selectors(everything, TrafficSelector.of(ip_network("0.0.0.0/0"), 17, 53)).outbound(flow)
