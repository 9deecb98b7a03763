"""Super packets through segmentation, encryption, decryption and coalescing, checked packet by packet."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ikeclone.backend import Encr, EspSuite, Event, Expire, Integ, Limits, Volume
from ikeclone_esp import counters
from ikeclone_esp.associations import InboundSa, OutboundSa
from ikeclone_esp.counters import Row
from ikeclone_esp.frames import Frames
from ikeclone_esp.seal import Sealer
from ikeclone_esp.unseal import Unsealer
from tests.unit.esp.packets import ACK, CWR, ECE, FIN, GCM, PSH, VNET, Tcp, child_sa, read_super, udp

SUITES = [
    GCM,
    replace(GCM, esn=True),
    EspSuite(Encr.CHACHA20_POLY1305, 256, Integ.NONE),
    EspSuite(Encr.AES_CBC, 256, Integ.HMAC_SHA2_256_128),
]


class Wire:
    """A path that keeps what is sent on it: runs of packets and their size."""

    remote = ("192.0.2.2", 4500)

    def __init__(self) -> None:
        self.runs: list[tuple[bytes, int]] = []

    def send(self, packets: memoryview, size: int) -> None:
        assert len(packets) <= 65507
        assert -(-len(packets) // size) <= 64
        self.runs.append((bytes(packets), size))

    def close(self) -> None:
        self.runs.clear()

    def packets(self) -> list[bytes]:
        return [run[i : i + size] for run, size in self.runs for i in range(0, len(run), size)]


class Tunnel:
    """Both halves of an SA, back to back: what goes in as a TUN frame comes out as TUN frames."""

    def __init__(self, suite: EspSuite, window: int = 128, limits: Limits | None = None) -> None:
        self.fd = counters.create(2)
        self.table = counters.Table(self.fd, 2)
        self.events: list[Event] = []
        self.wire = Wire()
        sa = replace(child_sa(suite, window=window), limits=limits or Limits())
        self.outbound = OutboundSa(sa, self.wire, self.row(0), self.events.append)
        self.inbound = InboundSa(replace(sa, local=sa.remote, remote=sa.local), self.row(1), self.events.append)
        self.frames = Frames()
        self.sealer = Sealer(self.frames)
        self.buffer = bytearray(65536)
        self.read_end, write_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.read_end.setblocking(False)
        self.tun = write_end
        write_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.unsealer = Unsealer(self.buffer, write_end.fileno())

    def row(self, index: int) -> Row:
        return self.table.row(index)

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.frames.load(frame)
            self.sealer.send(self.outbound, 0)
        self.sealer.flush()

    def receive(self, run: bytes, size: int) -> bool:
        """Deliver a run as the worker does; returns whether it took the fast path."""
        self.buffer[: len(run)] = run
        if self.unsealer.open_run(self.inbound, len(run), size):
            return True
        for start in range(0, len(run), size):
            self.unsealer.open(self.inbound, memoryview(self.buffer)[start : min(start + size, len(run))])
        return False

    def written(self) -> list[bytes]:
        frames = []
        try:
            while True:
                frames.append(self.read_end.recv(1 << 17))
        except BlockingIOError:
            return frames

    def close(self) -> None:
        self.read_end.close()
        self.tun.close()
        self.table.close()
        os.close(self.fd)


@pytest.fixture(params=SUITES, ids=str)
def tunnel(request: pytest.FixtureRequest) -> Iterator[Tunnel]:
    tunnel = Tunnel(request.param)
    yield tunnel
    tunnel.close()


@pytest.fixture
def gcm() -> Iterator[Tunnel]:
    tunnel = Tunnel(GCM)
    yield tunnel
    tunnel.close()


def opened(tunnel: Tunnel) -> list[bytes]:
    """The inner packets of what was sent, by the cipher's plain method."""
    inner = []
    for number, packet in enumerate(tunnel.wire.packets(), tunnel.outbound.number - len(tunnel.wire.packets()) + 1):
        assert packet[:8] == (0x1000).to_bytes(4, "big") + (number & 0xFFFFFFFF).to_bytes(4, "big")
        plain = tunnel.outbound.cipher.open(memoryview(packet), number)
        pad, next_header = plain[-2], plain[-1]
        assert plain[-2 - pad : -2] == bytes(range(1, pad + 1))
        assert next_header == (4 if plain[0] >> 4 == 4 else 41)
        inner.append(plain[: -2 - pad])
    return inner


def random_super(rng: random.Random) -> Tcp:
    options = bytes(rng.choice((0, 12, 20)))
    mss = rng.choice((1352, 1352, 1364, 1332, 536, 1201, 999, 1000))
    most = min(64, 60000 // mss)
    octets = mss * rng.randint(0, most - 1) + rng.choice((mss, rng.randint(1, mss)))
    flags = ACK | rng.choice((0, PSH, FIN, PSH | FIN, ECE, CWR, CWR | ECE | PSH))
    sequence = rng.choice((1, 0xFFFF0000, 0xFFFFFFFF, rng.getrandbits(32)))
    identification = rng.choice((0, 65530, 0xFFFF, rng.getrandbits(16)))
    return Tcp(rng.randbytes(octets), rng.choice((4, 6)), mss, options, sequence, identification, flags)


def test_random_super_packets(tunnel: Tunnel) -> None:
    rng = random.Random(7)
    for _ in range(60):
        tcp = random_super(rng)
        tunnel.wire.runs.clear()
        tunnel.send(tcp.frame())
        assert opened(tunnel) == tcp.segments(), tcp
        for run, size in tunnel.wire.runs:
            tunnel.receive(run, size)
        delivered = [packet for frame in tunnel.written() for packet in read_super(frame)]
        assert [without_identification(p) for p in delivered] == [without_identification(p) for p in tcp.segments()], (
            tcp
        )
    sent, received = tunnel.row(0).read(), tunnel.row(1).read()
    assert (sent.out_packets, sent.out_bytes) == (received.in_packets, received.in_bytes)
    assert not sent.drops
    assert not received.drops


def without_identification(packet: bytes) -> bytes:
    """A merged run keeps the first packet's, as the kernel's own GRO does with DF set, so the checksum differs too."""
    return packet if packet[0] >> 4 == 6 else packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:]


def test_a_bulk_transfer_is_one_write_per_run(gcm: Tunnel) -> None:
    tcp = Tcp(os.urandom(1352 * 44 + 100), flags=ACK | PSH)
    gcm.send(tcp.frame())
    ((run, size),) = gcm.wire.runs
    assert gcm.receive(run, size)
    assert len(gcm.written()) == 1
    assert gcm.row(1).read().in_bytes == sum(map(len, tcp.segments()))


def test_the_guessed_layout_is_corrected(gcm: Tunnel) -> None:
    """Frames come through a real read, scattered by the guess of the one before."""
    read, write = os.pipe()
    try:
        for tcp in (Tcp(os.urandom(3000)), Tcp(os.urandom(3000), options=b"", mss=700), Tcp(os.urandom(5000), 6)):
            gcm.wire.runs.clear()
            os.write(write, tcp.frame())
            gcm.frames.read(read)
            gcm.sealer.send(gcm.outbound, 0)
            assert opened(gcm) == tcp.segments()
        single = bytes(VNET.size) + udp(1400)
        os.write(write, single)
        gcm.frames.read(read)
        assert gcm.frames.octets() == single
    finally:
        os.close(read)
        os.close(write)


def test_checksum_of_single_packets(gcm: Tunnel) -> None:
    tcp = Tcp(b"hello", mss=100)
    frame = tcp.frame()
    gcm.send(VNET.pack(1, 0, 0, 0, 20, 16) + frame[VNET.size :])
    assert opened(gcm) == tcp.segments()


def test_single_packets_leave_together(gcm: Tunnel) -> None:
    sizes = [100] * 40 + [60] + [100] * 3 + [1400] * 60
    gcm.send(*(bytes(VNET.size) + udp(size) for size in sizes))
    assert [len(packet) for packet in opened(gcm)] == sizes
    assert len(gcm.wire.runs) == 4  # 40 and a shorter one, 3, and as many large ones as fit into 64 KB, the rest


def test_runs_are_cut_where_flows_change(gcm: Tunnel) -> None:
    """Two connections, a lost segment, a pure ACK, a wrong inner checksum in one batch."""
    a, b = Tcp(os.urandom(1352 * 6)), Tcp(os.urandom(1352 * 4), port=6000)
    wrong = bytearray(a.segments()[5])
    wrong[11] ^= 1
    inner = [*a.segments()[:2], *b.segments()[:3], a.segments()[3], a.segments()[4], bytes(wrong), b.segments()[3]]
    gcm.send(*(bytes(VNET.size) + packet for packet in inner))
    ((run, size),) = gcm.wire.runs
    assert gcm.receive(run, size)
    frames = gcm.written()
    delivered = [packet for frame in frames for packet in read_super(frame)]
    assert [without_identification(p) for p in delivered] == [without_identification(p) for p in inner]
    assert len(frames) == 5
    assert frames[3][VNET.size :] == bytes(wrong)


def test_corrupted_payload_stays_corrupted(gcm: Tunnel) -> None:
    """The derived checksum does not hide what was damaged before the tunnel."""
    segments = Tcp(os.urandom(1352 * 3)).segments()
    segments[1] = segments[1][:-1] + bytes([segments[1][-1] ^ 0xFF])
    gcm.send(*(bytes(VNET.size) + packet for packet in segments))
    gcm.receive(*gcm.wire.runs[0])
    (frame,) = gcm.written()
    with pytest.raises(AssertionError):
        read_super(frame)


def test_replayed_run_is_dropped(tunnel: Tunnel) -> None:
    tcp = Tcp(os.urandom(1352 * 10))
    tunnel.send(tcp.frame())
    for _ in range(2):
        for run, size in tunnel.wire.runs:
            tunnel.receive(run, size)
    assert tunnel.row(1).read().drops == {"replay": 10}
    assert tunnel.row(1).read().in_packets == 10


def test_reordered_packets_all_arrive(tunnel: Tunnel) -> None:
    tcp = Tcp(os.urandom(1352 * 20))
    tunnel.send(tcp.frame())
    packets = tunnel.wire.packets()
    random.Random(3).shuffle(packets)
    for packet in packets:
        tunnel.receive(packet, len(packet))
    assert sorted(frame[VNET.size :] for frame in tunnel.written()) == sorted(tcp.segments())


def test_one_forged_packet_costs_only_itself(tunnel: Tunnel) -> None:
    tcp = Tcp(os.urandom(1352 * 10))
    tunnel.send(tcp.frame())
    packets = tunnel.wire.packets()
    forged = packets[4][:-1] + bytes([packets[4][-1] ^ 1])
    tunnel.receive(b"".join([*packets[:4], forged, *packets[5:]]), len(forged))
    delivered = [packet for frame in tunnel.written() for packet in read_super(frame)]
    assert delivered == [*tcp.segments()[:4], *tcp.segments()[5:]]
    assert tunnel.row(1).read().drops == {"integrity": 1}
    tunnel.receive(packets[4], len(packets[4]))  # the forged one did not use up its number
    assert tunnel.row(1).read().in_packets == 10


def test_spoofed_inner_source_is_dropped(gcm: Tunnel) -> None:
    packet = bytearray(udp(100))
    packet[15] = 99
    run = [bytearray(segment) for segment in Tcp(os.urandom(1352 * 4)).segments()]
    for segment in run:
        segment[12:14] = b"\xc0\x00"
    gcm.send(bytes(VNET.size) + packet, *(bytes(VNET.size) + bytes(segment) for segment in run))
    assert gcm.outbound.number == 5
    gcm.inbound = InboundSa(replace(gcm.inbound.sa, remote=child_sa().remote), gcm.row(1), gcm.events.append)
    for sent, size in gcm.wire.runs:
        gcm.receive(sent, size)
    assert not gcm.written()
    assert gcm.row(1).read().drops == {"selectors": 5}


@pytest.mark.parametrize("junk", [b"", b"\x45", b"\x00" * 40, b"\x60" + bytes(30), b"\x45" + bytes(10)])
def test_junk_inside_is_malformed(tunnel: Tunnel, junk: bytes) -> None:
    sa = tunnel.outbound
    for _ in range(2):  # alone, then as a run
        plain = junk + bytes((0,) * (-(len(junk) + 2) % sa.cipher.align))
        plain += bytes((len(plain) - len(junk), 4))
        packets = [sa.cipher.seal(sa.spi, sa.claim(1, 30), plain) for _ in range(3)]
        tunnel.receive(b"".join(packets), len(packets[0]))
    assert tunnel.row(1).read().drops == {"malformed": 6}
    assert not tunnel.written()


def test_dummy_packets_vanish(tunnel: Tunnel) -> None:
    sa = tunnel.outbound
    packets = [sa.cipher.seal(sa.spi, sa.claim(1, 30), bytes(30) + b"\x00\x3b") for _ in range(4)]
    tunnel.receive(b"".join(packets), len(packets[0]))
    tunnel.receive(packets[0], len(packets[0]))
    assert not tunnel.written()
    assert tunnel.row(1).read().drops == {"replay": 1}


def test_no_sequence_number_is_used_twice() -> None:
    tunnel = Tunnel(GCM)
    tunnel.outbound.number = 0xFFFFFFFF - 5
    tunnel.send(*[bytes(VNET.size) + udp(100)] * 5)
    assert len(tunnel.wire.packets()) == 5
    for _ in range(2):
        tunnel.send(Tcp(os.urandom(4000)).frame(), bytes(VNET.size) + udp(100))
    assert tunnel.events == [Expire(0x1000, True)]
    assert len(tunnel.wire.packets()) == 5
    assert tunnel.row(0).read().drops == {"exhausted": 8}
    tunnel.close()


def test_what_sends_tells_of_each_limit_once_and_ends_with_the_hard_one() -> None:
    tunnel = Tunnel(GCM, limits=Limits(Volume(packets=5), Volume(packets=10)))
    tunnel.send(*[bytes(VNET.size) + udp(100)] * 4)
    assert tunnel.events == []
    tunnel.send(*[bytes(VNET.size) + udp(100)] * 5)
    assert tunnel.events == [Expire(0x1000, False)]
    tunnel.send(*[bytes(VNET.size) + udp(100)] * 5)
    assert tunnel.events == [Expire(0x1000, False), Expire(0x1000, True)]
    assert len(tunnel.wire.packets()) == 10
    assert tunnel.row(0).read().drops == {"exhausted": 4}
    tunnel.close()


def test_what_receives_tells_of_a_limit_and_drops_what_comes_after_it() -> None:
    """What is read at once is judged at once: the limit lies within the first run."""
    tunnel = Tunnel(GCM, limits=Limits(hard=Volume(packets=5)))
    tunnel.outbound = OutboundSa(child_sa(GCM), tunnel.wire, tunnel.row(0), tunnel.events.append)
    for _ in range(2):
        tunnel.send(Tcp(os.urandom(1352 * 10)).frame())
    for sent, size in tunnel.wire.runs:
        tunnel.receive(sent, size)
    assert tunnel.events == [Expire(tunnel.inbound.sa.inbound_spi, True)]
    counted = tunnel.row(1).read()
    assert (counted.in_packets, counted.drops) == (10, {"exhausted": 10})
    tunnel.close()


def test_esn_goes_on_where_32_bits_end() -> None:
    tunnel = Tunnel(replace(GCM, esn=True))
    start = (1 << 32) - 20
    tunnel.outbound.number = start
    tunnel.inbound.window.accept(start)
    for _ in range(3):
        tcp = Tcp(os.urandom(1352 * 30))
        tunnel.wire.runs.clear()
        tunnel.send(tcp.frame())
        assert opened(tunnel) == tcp.segments()
        for run, size in tunnel.wire.runs:
            tunnel.receive(run, size)
        assert [p for frame in tunnel.written() for p in read_super(frame)] == tcp.segments()
    assert tunnel.inbound.window.top == start + 90
    tunnel.close()
