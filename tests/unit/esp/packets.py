"""Inner packets and SAs to test with, made and checked without the code under test."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from ikeclone.backend import ChildSa, Encr, EspKeys, EspSuite, Integ, Path, TrafficSelector

GCM = EspSuite(Encr.AES_GCM_16, 256, Integ.NONE)
FIN, PSH, ACK, ECE, CWR = 0x01, 0x08, 0x10, 0x40, 0x80
VNET = struct.Struct("=BBHHHH")


def folded(data: bytes) -> int:
    """The ones' complement sum in its plainest form; 0xffff for data with a correct checksum in it."""
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(total)


@dataclass
class Tcp:
    """A TCP super packet as the kernel hands it to a TUN, or what can be read from any TCP packet."""

    payload: bytes = field(repr=False)
    version: int = 4
    mss: int = 1352
    options: bytes = bytes(12)
    sequence: int = 1000
    identification: int = 7
    flags: int = ACK
    port: int = 5000

    @property
    def ip_header(self) -> int:
        return 20 if self.version == 4 else 40

    @property
    def header(self) -> int:
        return self.ip_header + 20 + len(self.options)

    def _ip(self, transport: int) -> bytes:
        if self.version == 4:
            fields = (0x45, 0, 20 + transport, self.identification, 0x4000, 64, 6)
            start = struct.pack(">BBHHHBB", *fields)
            addresses = ip_address("10.1.0.1").packed + ip_address("10.2.0.1").packed
            return start + struct.pack(">H", ~folded(start + bytes(2) + addresses) & 0xFFFF) + addresses
        addresses = ip_address("2001:db8:1::1").packed + ip_address("2001:db8:2::1").packed
        return struct.pack(">IHBB", 6 << 28, transport, 6, 64) + addresses

    def frame(self) -> bytes:
        """With the virtio header, and the pseudo header's sum where the checksum goes."""
        transport = 20 + len(self.options) + len(self.payload)
        ip = self._ip(transport)
        parked = folded(pseudo_header(ip, transport))
        offset = (20 + len(self.options)) // 4 << 4
        fields = (self.port, 5201, self.sequence, 77, offset, self.flags, 500, parked, 0)
        tcp = struct.pack(">HHIIBBHHH", *fields) + self.options
        vnet = VNET.pack(1, 1 if self.version == 4 else 4, self.header, self.mss, self.ip_header, 16)
        return vnet + ip + tcp + self.payload

    def segments(self) -> list[bytes]:
        """The packets that a network card would make of it."""
        made = []
        for start in range(0, len(self.payload), self.mss):
            first, last = start == 0, start + self.mss >= len(self.payload)
            flags = self.flags & ~((0 if first else CWR) | (0 if last else FIN | PSH))
            identification = (self.identification + start // self.mss) & 0xFFFF
            sequence = (self.sequence + start) & 0xFFFFFFFF
            part = Tcp(self.payload[start : start + self.mss], self.version, self.mss, self.options, sequence,
                       identification, flags, self.port)  # fmt: skip
            made.append(checksummed(part.frame()[VNET.size :], part.ip_header))
        return made


def pseudo_header(ip: bytes, transport: int) -> bytes:
    addresses = ip[12:20] if ip[0] >> 4 == 4 else ip[8:40]
    return addresses + struct.pack(">II", transport, 6)


def checksummed(packet: bytes, ip_header: int) -> bytes:
    """A TCP packet with its checksum computed."""
    tcp = packet[ip_header : ip_header + 16] + bytes(2) + packet[ip_header + 18 :]
    value = ~folded(pseudo_header(packet, len(tcp)) + tcp) & 0xFFFF
    return packet[: ip_header + 16] + struct.pack(">H", value) + packet[ip_header + 18 :]


def read_super(frame: bytes) -> list[bytes]:
    """The segments of what was written to a TUN; the checksum of a super packet must be correct as it stands."""
    flags, kind, header, mss, _, _ = VNET.unpack_from(frame)
    packet = frame[VNET.size :]
    assert flags == 0
    if kind == 0:
        return [packet]
    version = {1: 4, 4: 6}[kind]
    ip = 20 if version == 4 else 40
    assert folded(pseudo_header(packet, len(packet) - ip) + packet[ip:]) == 0xFFFF
    (sequence,) = struct.unpack_from(">I", packet, ip + 4)
    if version == 4:
        assert folded(packet[:20]) == 0xFFFF
        assert struct.unpack_from(">H", packet, 2)[0] == len(packet)
    else:
        assert struct.unpack_from(">H", packet, 4)[0] == len(packet) - 40
    identification = struct.unpack_from(">H", packet, 4)[0] if version == 4 else 7
    options = packet[ip + 20 : header]
    return Tcp(packet[header:], version, mss, options, sequence, identification, packet[ip + 13],
               struct.unpack_from(">H", packet, ip)[0]).segments()  # fmt: skip


def udp(size: int, port: int = 9) -> bytes:
    """An IPv4 UDP packet of `size` octets without a UDP checksum."""
    start = struct.pack(">BBHHHBB", 0x45, 0, size, 1, 0, 64, 17)
    addresses = ip_address("10.1.0.1").packed + ip_address("10.2.0.1").packed
    ip = start + struct.pack(">H", ~folded(start + bytes(2) + addresses) & 0xFFFF) + addresses
    return ip + struct.pack(">HHHH", port, port, size - 20, 0) + bytes(size - 28)


def networks(*names: str) -> tuple[TrafficSelector, ...]:
    return tuple(TrafficSelector.of(ip_network(name)) for name in names)


def child_sa(suite: EspSuite = GCM, *, spi: int = 0x1000, cpu: int | None = 0, window: int = 128) -> ChildSa:
    """An SA whose two halves have the same SPI and keys, so that it can talk to itself."""
    size = 0 if suite.integrity == Integ.NONE else 32
    keys = EspKeys(bytes(range(suite.key_bits // 8 + (4 if not size else 0))), bytes(range(size)))
    path = Path(ip_address("192.0.2.1"), ip_address("192.0.2.2"), 4500, 4500)
    local, remote = networks("10.1.0.0/24", "2001:db8:1::/64"), networks("10.2.0.0/24", "2001:db8:2::/64")
    return ChildSa("net-net", cpu, spi, spi, suite, keys, keys, local, remote, path, True, replay_window=window)
