"""What a worker does with ESP that is early, stray, another worker's or from a new address."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest

from ikeclone.backend import Event, Expire, Limits, Path, Remapped, Volume
from ikeclone_esp import counters, sockets
from ikeclone_esp.associations import InboundSa
from ikeclone_esp.ciphers import make_cipher, trailer
from ikeclone_esp.handover import CIPHERTEXT, Handover, Tag
from ikeclone_esp.receive import Receiver
from tests.unit.esp.packets import VNET, child_sa, udp

SPI = 0x1000
PEER = ("127.0.0.1", 0)  # the port is whatever the sending socket gets


class Setting:
    """Worker 0 of two, with a UDP socket on the loopback and a socket pair in the TUN's place."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fd = counters.create(2)
        self.table = counters.Table(self.fd, 2)
        self.poll = select.epoll()
        handover = Handover(self.poll)
        self.to_other, self.other = sockets.handover()
        handover.connect(1, self.to_other)
        self.read_end, self.tun = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.read_end.setblocking(False)
        self.receiver = Receiver(0, 2, self.tun.fileno(), handover, self.table.row(0), self.events.append)
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("127.0.0.1", 0))
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.connect(self.server.getsockname())
        port = self.client.getsockname()[1]
        path = Path(ip_address("127.0.0.1"), ip_address("127.0.0.1"), 4500, port)
        self.sa = replace(child_sa(), local=child_sa().remote, remote=child_sa().local, path=path)
        self.cipher = make_cipher(self.sa.suite, self.sa.inbound_keys)
        self.number = 0

    def install(self) -> None:
        self.receiver.install(InboundSa(self.sa, self.table.row(2), self.events.append))

    def esp(self, spi: int = SPI) -> bytes:
        self.number += 1
        inner = udp(100)
        return self.cipher.seal(spi.to_bytes(4, "big"), self.number, inner + trailer(100, 4, 4))

    def arrive(self, packet: bytes) -> None:
        self.client.send(packet)
        self.receiver.on_datagram(self.server)

    def delivered(self) -> int:
        count = 0
        try:
            while self.read_end.recv(2000) == bytes(VNET.size) + udp(100):
                count += 1
        except BlockingIOError:
            return count
        raise AssertionError("something else was written")

    def drops(self) -> dict[str, int]:
        return self.table.row(0).read().drops

    def close(self) -> None:
        for sock in (self.to_other, self.other, self.read_end, self.tun, self.server, self.client, self.poll):
            sock.close()
        self.table.close()
        os.close(self.fd)


@pytest.fixture
def setting() -> Iterator[Setting]:
    setting = Setting()
    yield setting
    setting.close()


def test_early_packets_wait_for_their_sa(setting: Setting) -> None:
    setting.receiver.reserve(SPI.to_bytes(4, "big"))
    for _ in range(5):
        setting.arrive(setting.esp())
    assert setting.delivered() == 0
    setting.install()
    assert setting.delivered() == 5
    assert not setting.drops()


def test_early_packets_are_bounded(setting: Setting) -> None:
    setting.receiver.reserve(SPI.to_bytes(4, "big"))
    for _ in range(70):
        setting.arrive(setting.esp())
    setting.install()
    assert setting.delivered() == 64
    assert setting.drops() == {"held": 6}


def test_early_packets_do_not_wait_for_ever(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    setting.receiver.reserve(SPI.to_bytes(4, "big"))
    setting.arrive(setting.esp())
    later = time.monotonic() + 3
    monkeypatch.setattr(time, "monotonic", lambda: later)
    setting.install()
    assert setting.delivered() == 0
    assert setting.drops() == {"held": 1}


@pytest.mark.parametrize("reserved", [True, False])
def test_a_removed_sa_is_stray(setting: Setting, reserved: bool) -> None:
    if reserved:
        setting.receiver.reserve(SPI.to_bytes(4, "big"))
    else:
        setting.install()
    setting.receiver.remove(SPI.to_bytes(4, "big"))
    setting.arrive(setting.esp())
    assert setting.delivered() == 0
    assert setting.drops() == {"no-sa": 1}


@pytest.mark.parametrize("hard", [Volume(packets=3), Volume(octets=250)])
def test_nothing_is_received_beyond_a_hard_limit(setting: Setting, hard: Volume) -> None:
    """Three packets of 100 octets, one by one or as a run."""
    setting.sa = replace(setting.sa, limits=Limits(soft=Volume(packets=2), hard=hard))
    setting.install()
    for _ in range(5):
        setting.arrive(setting.esp())
    assert setting.delivered() == 3
    assert setting.table.row(2).read().drops == {"exhausted": 2}
    assert setting.events == [Expire(SPI, False), Expire(SPI, True)]
    assert not setting.drops()


def test_packets_of_the_other_worker_are_passed_on(setting: Setting) -> None:
    packet = setting.esp(SPI + 1)
    setting.arrive(packet)
    assert Tag.split(setting.other.recv(2000)) == (Tag(CIPHERTEXT, 0, 1), packet)
    setting.receiver.on_passed(setting.esp(SPI + 3))  # it came from the other one: it does not go back
    with pytest.raises(BlockingIOError):
        setting.other.recv(2000)
    assert setting.drops() == {"no-sa": 1}


def test_a_merged_read_of_two_workers_packets(setting: Setting) -> None:
    """The network card merges by address and length, whatever the SPI."""
    setting.install()
    sockets_option = (socket.SOL_UDP, sockets.UDP_GRO, 1)
    setting.server.setsockopt(*sockets_option)
    run = [setting.esp(), setting.esp(), setting.esp(SPI + 1), setting.esp()]
    setting.client.setsockopt(socket.SOL_UDP, sockets.UDP_SEGMENT, len(run[0]))
    setting.arrive(b"".join(run))
    assert setting.delivered() == 3
    assert Tag.split(setting.other.recv(2000)) == (Tag(CIPHERTEXT, 0, 1), run[2])


@pytest.mark.parametrize(
    "packet", [b"", b"\x00", bytes(4), bytes(60), b"\x00\x00\x10\x00", b"\x00\x00\x10\x00" + bytes(4)]
)
def test_malformed(setting: Setting, packet: bytes) -> None:
    setting.install()
    setting.arrive(packet)
    malformed = setting.drops().get("malformed", 0) + setting.table.row(2).read().drops.get("malformed", 0)
    assert malformed == (1 if packet else 0)
    assert setting.delivered() == 0


def test_a_new_address_is_reported_once(setting: Setting) -> None:
    setting.install()
    setting.arrive(setting.esp())
    assert not setting.events
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind(("127.0.0.1", 0))
        path = replace(setting.sa.path, remote_port=elsewhere.getsockname()[1])
        forged = setting.esp()[:-1] + b"x"
        for packet in (forged, setting.esp(), setting.esp()):
            elsewhere.sendto(packet, setting.server.getsockname())
            setting.receiver.on_datagram(setting.server)
        assert setting.events == [Remapped(SPI, path)]
        setting.receiver.move(SPI.to_bytes(4, "big"), path, udp_encapsulation=True)
        elsewhere.sendto(setting.esp(), setting.server.getsockname())
        setting.receiver.on_datagram(setting.server)
    assert len(setting.events) == 1
    assert setting.delivered() == 4
