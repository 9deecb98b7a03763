"""Which traffic an IP packet belongs to, and whether traffic selectors cover it (RFC 4301 section 4.4.1.1)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final, NamedTuple

from ikeclone.backend import TrafficSelector

_PORTS: Final = frozenset({6, 17, 33, 132, 136})  # TCP, UDP, DCCP, SCTP, UDP-Lite
_ICMP, _ICMPV6, _FRAGMENT, _AUTHENTICATION = 1, 58, 44, 51
_EXTENSIONS: Final = frozenset({0, 43, _FRAGMENT, _AUTHENTICATION, 60, 135})
_MOST_EXTENSIONS: Final = 8
# IPv4 flag "more fragments" and fragment offset
_FRAGMENTED: Final = 0x3FFF


class Flow(NamedTuple):
    """The selectors of one packet. Ports are None where there are none, as in all fragments but the first;
    ICMP has its type and code there, type first (RFC 7296 section 3.13.1)."""

    version: int
    source: int
    destination: int
    protocol: int
    source_port: int | None
    destination_port: int | None

    def selectors(self) -> tuple[TrafficSelector, TrafficSelector]:
        """The traffic selectors of a packet that leaves, ours and the peer's.

        They are for all of ICMP: a question of one type is answered by another.
        """
        address = IPv4Address if self.version == 4 else IPv6Address
        all_ports = self.protocol in (_ICMP, _ICMPV6)
        ends = (self.source, self.source_port), (self.destination, self.destination_port)
        ours, theirs = (
            TrafficSelector.of(ip_network(address(end)), self.protocol, None if all_ports else port)
            for end, port in ends
        )
        return ours, theirs


def key(packet: memoryview) -> bytes | Flow:
    """Something hashable that is equal for packets of one flow, cheap to make for plain TCP and UDP.

    Raises ValueError when it is no IP packet.
    """
    if len(packet) >= 24 and packet[0] == 0x45 and packet[9] in (6, 17):
        if not (packet[6] << 8 | packet[7]) & _FRAGMENTED:
            return bytes(packet[9:10]) + packet[12:24]
    elif len(packet) >= 44 and packet[0] >> 4 == 6 and packet[6] in (6, 17):
        return bytes(packet[6:7]) + packet[8:44]
    return parse(packet)


def parse(packet: memoryview) -> Flow:
    """The selectors of a packet. Raises ValueError when it is no IP packet."""
    try:
        if packet[0] >> 4 == 4:
            return _parse_ipv4(packet)
        if packet[0] >> 4 == 6:
            return _parse_ipv6(packet)
    except (IndexError, struct.error):
        raise ValueError("a truncated packet") from None
    raise ValueError("neither IPv4 nor IPv6")


def _parse_ipv4(packet: memoryview) -> Flow:
    fragment, protocol, source, destination = struct.unpack_from(">6xHxB2x4s4s", packet)
    first = not fragment & 0x1FFF
    ports = _ports(packet, (packet[0] & 15) * 4, protocol) if first else (None, None)
    return Flow(4, int.from_bytes(source, "big"), int.from_bytes(destination, "big"), protocol, *ports)


def _parse_ipv6(packet: memoryview) -> Flow:
    protocol, source, destination = struct.unpack_from(">6xBx16s16s", packet)
    offset, first = 40, True
    for _ in range(_MOST_EXTENSIONS):
        if protocol not in _EXTENSIONS or not first:
            break
        octets = 8 * packet[offset + 1] + 8
        if protocol == _FRAGMENT:
            octets, first = 8, not struct.unpack_from(">H", packet, offset + 2)[0] & 0xFFF8
        elif protocol == _AUTHENTICATION:
            octets = 4 * packet[offset + 1] + 8
        protocol, offset = packet[offset], offset + octets
    ports = _ports(packet, offset, protocol) if first else (None, None)
    return Flow(6, int.from_bytes(source, "big"), int.from_bytes(destination, "big"), protocol, *ports)


def _ports(packet: memoryview, offset: int, protocol: int) -> tuple[int | None, int | None]:
    if protocol in _PORTS:
        source, destination = struct.unpack_from(">HH", packet, offset)
        return source, destination
    if protocol in (_ICMP, _ICMPV6):
        (kind,) = struct.unpack_from(">H", packet, offset)
        return kind, kind
    return None, None


class Selectors:
    """The traffic selectors of both ends of a policy or SA, ready for comparing."""

    def __init__(self, local: Iterable[TrafficSelector], remote: Iterable[TrafficSelector]) -> None:
        self._local = [_Range.of(selector) for selector in local]
        self._remote = [_Range.of(selector) for selector in remote]
        self._ends = self._remote, self._local

    def outbound(self, flow: Flow) -> bool:
        """Whether a packet that leaves is covered."""
        source = (flow.version, flow.source, flow.protocol, flow.source_port)
        destination = (flow.version, flow.destination, flow.protocol, flow.destination_port)
        return _covered(self._local, source) and _covered(self._remote, destination)

    def inbound(self, flow: Flow) -> bool:
        """Whether a packet that came in is covered."""
        source = (flow.version, flow.source, flow.protocol, flow.source_port)
        destination = (flow.version, flow.destination, flow.protocol, flow.destination_port)
        return _covered(self._remote, source) and _covered(self._local, destination)

    def breadth(self) -> tuple[int, ...]:
        """How much this covers, to compare: remote addresses, then local ones, then protocols and ports."""
        remote = [r.last - r.first + 1 for r in self._remote]
        local = [r.last - r.first + 1 for r in self._local]
        return max(remote, default=0), sum(remote), sum(local), *(sum(r.kinds for r in e) for e in self._ends)


_End = tuple[int, int, int, int | None]  # IP version, address, protocol, port


class _Range(NamedTuple):
    version: int
    first: int
    last: int
    protocol: int
    first_port: int
    last_port: int

    @classmethod
    def of(cls, selector: TrafficSelector) -> _Range:
        first, last = int(selector.first), int(selector.last)
        ports = (selector.first_port, selector.last_port)
        return cls(selector.first.version, first, last, selector.protocol, *ports)

    @property
    def kinds(self) -> int:
        """How many pairs of a protocol and a port it has."""
        return (self.last_port - self.first_port + 1) * (1 if self.protocol else 256)

    def covers(self, end: _End) -> bool:
        version, address, protocol, port = end
        if version != self.version or not self.first <= address <= self.last:
            return False
        if self.protocol not in (0, protocol):
            return False
        if port is None:  # nothing to compare: only a selector of all ports may have it
            return self.first_port == 0 and self.last_port == 65535
        return self.first_port <= port <= self.last_port


def _covered(ranges: list[_Range], end: _End) -> bool:
    return any(r.covers(end) for r in ranges)
