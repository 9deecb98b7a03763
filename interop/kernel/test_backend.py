"""The kernel backend between two network namespaces, with fixed keys: run by the scenario `backend` in the guest."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path as FilePath
from typing import TypeVar

import pytest

from ikeclone.backend import (
    Acquire,
    ChildSa,
    Counters,
    Encr,
    EspKeys,
    EspSuite,
    Event,
    Expire,
    Integ,
    Limits,
    Lost,
    Mode,
    Path,
    Policy,
    Remapped,
    TrafficSelector,
    Volume,
)
from ikeclone_xfrm import listener
from ikeclone_xfrm.backend import XfrmBackend
from ikeclone_xfrm.messages import XfrmMessage
from ikeclone_xfrm.structs import ReplayEsn
from tests.dataplane.netns import Namespace, connect

GCM = EspSuite(Encr.AES_GCM_16, 128, Integ.NONE)
SUITES = (
    (GCM, 20, 0),
    (replace(GCM, esn=True), 20, 0),
    (EspSuite(Encr.AES_GCM_8, 128, Integ.NONE), 20, 0),
    (EspSuite(Encr.AES_GCM_12, 256, Integ.NONE), 36, 0),
    (EspSuite(Encr.AES_CCM_8, 128, Integ.NONE), 19, 0),
    (EspSuite(Encr.AES_CCM_12, 192, Integ.NONE), 27, 0),
    (EspSuite(Encr.AES_CCM_16, 256, Integ.NONE), 35, 0),
    (EspSuite(Encr.AES_CTR, 128, Integ.HMAC_SHA1_96), 20, 20),
    (EspSuite(Encr.AES_CBC, 128, Integ.AES_XCBC_96), 16, 16),
    (EspSuite(Encr.AES_CBC, 128, Integ.AES_CMAC_96), 16, 16),
    (EspSuite(Encr.AES_CBC, 192, Integ.HMAC_SHA2_384_192), 24, 48),
    (EspSuite(Encr.AES_CBC, 256, Integ.HMAC_SHA2_256_128), 32, 32),
    (EspSuite(Encr.AES_CBC, 256, Integ.HMAC_SHA2_512_256, esn=True), 32, 64),
    (EspSuite(Encr.CHACHA20_POLY1305, 256, Integ.NONE), 36, 0),
    (EspSuite(Encr.NULL_AUTH_AES_GMAC, 128, Integ.NONE), 20, 0),
    (EspSuite(Encr.NULL, 0, Integ.HMAC_SHA2_256_128), 0, 32),
)
E = TypeVar("E", Acquire, Expire, Lost, Remapped)
OUTER = ("198.51.100.1", "198.51.100.2")
OUTER6 = ("2001:db8::1", "2001:db8::2")
INNER = ("10.1.0.1", "10.2.0.1")
PORT = 9


@dataclass
class Side:
    """A namespace with a backend in it."""

    namespace: Namespace
    backend: XfrmBackend
    address: str
    inner: str

    def send(self, target: str, cpu: int, count: int = 1) -> None:
        """Send datagrams from one CPU."""
        self.namespace.call(_send(self.inner, target, cpu, count))

    def counters(self, sa: ChildSa) -> Counters:
        return self.namespace.call(self.backend.counters())[sa.inbound_spi]

    def event(self, kind: type[E]) -> E:
        """The next event of a kind."""
        while True:
            event = self.namespace.call(asyncio.wait_for(self.backend.event(), 5))
            if isinstance(event, kind):
                return event


class Tunnel:
    """Both sides, and the Child SAs that they share."""

    def __init__(self, left: Side, right: Side, encapsulate: bool = False, mode: Mode = Mode.TUNNEL) -> None:
        self.left, self.right, self.encapsulate, self.mode = left, right, encapsulate, mode
        port = 4500 if encapsulate else 500
        self.path = Path(ip_address(left.address), ip_address(right.address), port, port)
        ends = [TrafficSelector.of(ip_network(side.inner)) for side in (left, right)]
        self.local, self.remote = (ends[0],), (ends[1],)
        for side, local, remote, path in (
            (left, self.local, self.remote, self.path),
            (right, self.remote, self.local, _reversed(self.path)),
        ):
            side.namespace.call(side.backend.route(Policy("gw", local, remote, path, mode)))

    def open(
        self,
        cpu: int | None = None,
        suite: EspSuite = GCM,
        sizes: tuple[int, int] = (20, 0),
        activate: bool = True,
        limits: Limits = Limits(),  # noqa: B008  it is frozen
    ) -> tuple[ChildSa, ChildSa]:
        """Install a Child SA on both sides; the right one's is bound to the same CPU."""
        keys = [EspKeys(secrets.token_bytes(sizes[0]), secrets.token_bytes(sizes[1])) for _ in range(2)]
        spis = [side.backend.allocate_spi(cpu) for side in (self.left, self.right)]
        left = ChildSa(
            "gw",
            cpu,
            spis[0],
            spis[1],
            suite,
            keys[0],
            keys[1],
            self.local,
            self.remote,
            self.path,
            self.encapsulate,
            self.mode,
            limits=limits,
        )
        right = replace(
            left,
            inbound_spi=spis[1],
            outbound_spi=spis[0],
            inbound_keys=keys[1],
            outbound_keys=keys[0],
            local=self.remote,
            remote=self.local,
            path=_reversed(self.path),
        )
        for side, sa in ((self.left, left), (self.right, right)):
            side.namespace.call(side.backend.install(sa))
        if activate:
            for side, sa in ((self.left, left), (self.right, right)):
                side.namespace.call(side.backend.activate(sa.inbound_spi))
        return left, right


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    namespaces = Namespace(), Namespace()
    addresses = [(f"{a}/24", f"{b}/24") if "." in a else (f"{a}/64", f"{b}/64") for a, b in (OUTER, OUTER6)]
    connect(*namespaces, addresses)
    made = []
    for number, namespace in enumerate(namespaces):
        namespace.run("ip", "address", "add", f"{INNER[number]}/32", "dev", "lo")
        side = Side(namespace, XfrmBackend(), OUTER[number], INNER[number])
        namespace.call(side.backend.start())
        made.append(side)
    yield made[0], made[1]
    for side in made:
        side.namespace.call(side.backend.stop())
        assert side.namespace.run("ip", "xfrm", "state") == side.namespace.run("ip", "xfrm", "policy") == ""
        side.namespace.close()


async def _send(source: str, target: str, cpu: int, count: int) -> None:
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((source, 0))
            for _ in range(count):
                sock.sendto(b"?" * 56, (target, PORT))
    finally:
        os.sched_setaffinity(0, everywhere)


def _reversed(path: Path) -> Path:
    return Path(path.remote, path.local, path.remote_port, path.local_port)


def _drain(side: Side) -> list[Event]:
    """The events that are waiting."""
    waiting = side.backend._events
    return [waiting.get_nowait() for _ in range(waiting.qsize())]


def _listen(side: Side) -> socket.socket:
    """The daemon's socket for ESP in UDP."""

    async def bound() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((side.address, 4500))
        side.backend.share(sock)
        return sock

    return side.namespace.call(bound())


@pytest.mark.parametrize(("suite", "encryption", "integrity"), SUITES, ids=lambda value: str(value))
def test_every_suite_carries_packets(
    sides: tuple[Side, Side], suite: EspSuite, encryption: int, integrity: int
) -> None:
    left, right = sides
    here, there = Tunnel(left, right).open(suite=suite, sizes=(encryption, integrity))
    left.send(right.inner, 0, 10)
    assert (left.counters(here).out_packets, right.counters(there).in_packets) == (10, 10)
    assert left.counters(here).out_bytes == right.counters(there).in_bytes == 10 * (20 + 8 + 56)
    assert right.counters(there).in_last > 0


def test_ipv4_in_ipv6(sides: tuple[Side, Side]) -> None:
    left, right = (replace(side, address=address) for side, address in zip(sides, OUTER6, strict=True))
    _, there = Tunnel(left, right).open()
    left.send(right.inner, 0, 3)
    assert right.counters(there).in_packets == 3


def test_transport_mode(sides: tuple[Side, Side]) -> None:
    left, right = (replace(side, inner=side.address) for side in sides)
    _, there = Tunnel(left, right, mode=Mode.TRANSPORT).open()
    left.send(right.inner, 0, 3)
    # The other side answers each with an ICMP error, through the tunnel as well.
    assert right.counters(there).in_packets == 3


def test_each_cpu_sends_on_its_clone_and_the_rest_on_the_fallback(sides: tuple[Side, Side]) -> None:
    left, right = sides
    tunnel = Tunnel(left, right)
    fallback, _ = tunnel.open()
    clones = {cpu: tunnel.open(cpu)[0] for cpu in (1, 2)}
    for cpu, count in ((0, 1), (1, 2), (2, 4), (3, 8)):
        left.send(right.inner, cpu, count)
    assert left.counters(fallback).out_packets == 9
    assert [left.counters(clones[cpu]).out_packets for cpu in (1, 2)] == [2, 4]
    assert {left.event(Acquire).cpu for _ in range(2)} == {0, 3}


def test_streams_on_cpus_without_a_clone_lose_nothing_and_get_one_after_the_other(sides: tuple[Side, Side]) -> None:
    left, right = sides
    tunnel = Tunnel(left, right)
    children = [tunnel.open()]
    for sent in range(1, 11):
        for cpu in (1, 2):
            left.send(right.inner, cpu, 100)
        if sent in (3, 6):
            served = {here.cpu for here, _ in children}
            wanted = next(cpu for cpu in iter(lambda: left.event(Acquire).cpu, None) if cpu not in served)
            assert wanted in {1, 2}
            children.append(tunnel.open(wanted))
    assert sum(right.counters(there).in_packets for _, there in children) == 2000
    assert sum(left.counters(here).out_packets for here, _ in children[1:]) == 700 + 400
    assert left.namespace.run("ip", "xfrm", "state").count("proto esp") == 2 * len(children)  # no larval state


def test_a_fallback_that_is_newer_than_a_clone_does_not_take_its_packets(sides: tuple[Side, Side]) -> None:
    left, right = sides
    tunnel = Tunnel(left, right)
    tunnel.open()
    clone, _ = tunnel.open(1)
    left.namespace.call(asyncio.sleep(1.1))  # the kernel compares ages in seconds
    tunnel.open()
    left.send(right.inner, 1, 5)
    assert left.counters(clone).out_packets == 5


def test_the_newest_of_a_cpu_sends_and_an_older_one_again_once_it_is_told_to(sides: tuple[Side, Side]) -> None:
    left, right = sides
    tunnel = Tunnel(left, right)
    older, theirs = tunnel.open()
    left.send(right.inner, 0, 3)
    newer, _ = tunnel.open()
    left.send(right.inner, 0, 2)
    left.namespace.call(left.backend.activate(older.inbound_spi))
    left.send(right.inner, 0, 1)
    assert (left.counters(older).out_packets, left.counters(newer).out_packets) == (4, 2)
    assert right.counters(theirs).in_packets == 4


@pytest.mark.parametrize("esn", [False, True])
def test_an_sa_that_sends_again_goes_on_with_its_sequence_numbers(sides: tuple[Side, Side], esn: bool) -> None:
    left, right = sides
    here, there = Tunnel(left, right).open(suite=replace(GCM, esn=esn))
    left.send(right.inner, 0, 5)
    left.namespace.call(left.backend.deactivate(here.inbound_spi))
    assert left.counters(here).out_packets == 5
    left.namespace.call(left.backend.activate(here.inbound_spi))
    left.send(right.inner, 0, 5)
    assert left.counters(here).out_packets == right.counters(there).in_packets == 10
    assert right.counters(there).drops == {}


@pytest.mark.parametrize(("esn", "count"), [(False, 1 << 30), (True, 3 << 30)])
def test_sequence_numbers_are_left_out(sides: tuple[Side, Side], esn: bool, count: int) -> None:
    """In a state that sends, and in one that does not at present; the peer takes what comes then.

    With extended ones, leaps of less than their lower half, which is what a receiver can follow.
    """
    left, right = sides
    here, there = Tunnel(left, right).open(suite=replace(GCM, esn=esn))
    left.send(right.inner, 0, 5)
    left.namespace.call(left.backend.skip(here.inbound_spi, count))
    left.send(right.inner, 0, 5)
    left.namespace.call(left.backend.deactivate(here.inbound_spi))
    left.namespace.call(left.backend.skip(here.inbound_spi, count))
    left.namespace.call(left.backend.activate(here.inbound_spi))
    left.send(right.inner, 0, 5)
    left.namespace.call(left.backend.deactivate(here.inbound_spi))
    last = left.backend._pairs.find(here.inbound_spi).outbound.last
    number, high = _sent(last)
    assert (high << 32) + number == 2 * count + 15 + (1 << 20), "one that was taken out has left some out by itself"
    assert right.counters(there).in_packets == 15
    assert right.counters(there).drops == {}


def _sent(state: XfrmMessage) -> tuple[int, int]:
    """The last sequence number that a state has sent with, its lower and its upper half."""
    if (extended := state.get_attr("XFRMA_REPLAY_ESN_VAL")) is not None:
        fields, _ = ReplayEsn.decode_from(bytes(extended), 0)
        return fields["oseq"], fields["oseq_hi"]
    return struct.unpack_from("I", bytes(state.get_attr("XFRMA_REPLAY_VAL")))[0], 0


@pytest.fixture
def listening(sides: tuple[Side, Side]) -> Iterator[None]:
    """Both sides have the daemon's socket for ESP in UDP."""
    with ExitStack() as stack:
        for side in sides:
            stack.enter_context(_listen(side))
        yield


@pytest.mark.usefixtures("listening")
def test_a_peer_behind_a_nat_moves_and_is_followed(sides: tuple[Side, Side]) -> None:
    left, right = sides
    tunnel = Tunnel(left, right, encapsulate=True)
    here, there = tunnel.open()
    left.send(right.inner, 0, 3)
    moved = replace(tunnel.path, local=ip_address("198.51.100.3"))
    left.namespace.run("ip", "address", "add", "198.51.100.3/24", "dev", "eth0")
    left.namespace.call(left.backend.move(here.inbound_spi, moved, True))
    left.send(right.inner, 0, 4)
    event = right.event(Remapped)
    assert event == Remapped(there.inbound_spi, _reversed(moved))
    right.namespace.call(right.backend.move(there.inbound_spi, event.path, True))
    right.send(left.inner, 0, 2)
    assert right.counters(there).in_packets == 7
    # The replies to the datagrams, ICMP errors, count as well.
    assert left.counters(here).in_packets >= 2


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("migrates", [True, False])
def test_what_moves_goes_on_where_it_was(sides: tuple[Side, Side], migrates: bool, esn: bool) -> None:
    left, right = sides
    assert left.backend._kernel.migrates
    left.backend._kernel = replace(left.backend._kernel, migrates=migrates)
    tunnel = Tunnel(left, right)
    tunnel.open()
    here, there = tunnel.open(1, suite=replace(GCM, esn=esn))
    left.send(right.inner, 1, 3)
    moved = replace(tunnel.path, local=ip_address("198.51.100.3"))
    left.namespace.run("ip", "address", "add", "198.51.100.3/24", "dev", "eth0")
    left.namespace.call(left.backend.move(here.inbound_spi, moved, False))
    right.namespace.call(right.backend.move(there.inbound_spi, _reversed(moved), False))
    left.send(right.inner, 1, 4)
    assert left.counters(here).out_packets == right.counters(there).in_packets == 7
    assert right.counters(there).drops == {}
    state = left.namespace.run("ip", "xfrm", "state", "list", "src", "198.51.100.3")
    # One that is made anew leaves out what it may have sent with while it was taken out.
    assert f"oseq {7 if migrates else 7 + (1 << 20):#x}\n" in f"{state}\n".replace(",", "\n")


def test_a_deactivated_sa_that_moves_goes_on_with_its_sequence_numbers(sides: tuple[Side, Side]) -> None:
    left, right = sides
    tunnel = Tunnel(left, right)
    here, there = tunnel.open()
    left.send(right.inner, 0, 5)
    left.namespace.call(left.backend.deactivate(here.inbound_spi))
    left.namespace.call(left.backend.move(here.inbound_spi, tunnel.path, False))
    left.namespace.call(left.backend.activate(here.inbound_spi))
    left.send(right.inner, 0, 5)
    assert right.counters(there).in_packets == 10
    assert right.counters(there).drops == {}


def test_with_queues_for_larval_states_no_other_cpu_asks(sides: tuple[Side, Side]) -> None:
    left, right = sides
    _, there = Tunnel(left, right).open()
    left.namespace.run("sh", "-c", "echo 0 > /proc/sys/net/core/xfrm_larval_drop")
    for _ in range(20):
        left.send(right.inner, 1)
    left.namespace.call(asyncio.sleep(0.5))  # the queue's timer would have asked by now
    assert {event.cpu for event in _drain(left) if isinstance(event, Acquire)} == {1}
    assert right.counters(there).in_packets == 20


def test_more_news_than_can_be_taken_is_made_up_for(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = sides
    monkeypatch.setattr(listener, "_BUFFER", 1)
    left.namespace.call(left.backend.stop())
    left.namespace.call(left.backend.start())
    here, _ = Tunnel(left, right).open()
    commands = "".join(f"policy add src 10.9.{n}.0/24 dst 10.8.0.0/16 dir in action allow\n" for n in range(200))
    batch = FilePath(f"/tmp/{os.getpid()}.batch")  # noqa: S108  the guest's own
    batch.write_text(commands.replace("policy", "xfrm policy") + "xfrm state flush\nxfrm policy flush\n")

    async def at_once() -> None:
        subprocess.run(left.namespace.command("ip", "-batch", str(batch)), check=True)  # noqa: ASYNC221  the loop shall not hear

    left.namespace.call(at_once())
    event = left.event(Lost)
    assert event.inbound_spis == (here.inbound_spi,)
    assert left.namespace.run("ip", "xfrm", "policy").count("dir out") == 1


@pytest.mark.parametrize("cpu", [None, 1])
def test_limits_are_told_and_kept(sides: tuple[Side, Side], cpu: int | None) -> None:
    """A clone's soft limit is told by the side that receives; at the hard one the kernel sends nothing more."""
    left, right = sides
    tunnel = Tunnel(left, right)
    if cpu is not None:
        tunnel.open()
    here, there = tunnel.open(cpu, limits=Limits(Volume(packets=5), Volume(packets=10)))
    left.send(right.inner, cpu or 0, 6)
    assert right.event(Expire) == Expire(there.inbound_spi, hard=False)
    if cpu is None:
        assert left.event(Expire) == Expire(here.inbound_spi, hard=False)
    with pytest.raises(OSError, match="Invalid argument"):
        left.send(right.inner, cpu or 0, 5)
    while not left.event(Expire).hard:
        assert cpu is not None, "a clone receives as well"
    assert f"0x{here.outbound_spi:08x}" not in left.namespace.run("ip", "xfrm", "state")
    assert right.counters(there).in_packets == 10


def test_no_sequence_number_is_used_twice(sides: tuple[Side, Side]) -> None:
    left, right = sides
    here, there = Tunnel(left, right).open()
    left.namespace.call(left.backend.deactivate(here.inbound_spi))
    outbound = left.backend._pairs.find(here.inbound_spi).outbound
    last, outbound.skipped = outbound.last, 0
    window = struct.pack("III", 0xFFFFFFFF - 3, 0, 0)  # struct xfrm_replay_state: the last sent number comes first
    last["attrs"] = [(name, window if name == "XFRMA_REPLAY_VAL" else value) for name, value in last["attrs"]]
    left.namespace.call(left.backend.activate(here.inbound_spi))
    for _ in range(2):
        with pytest.raises(OSError, match="Value too large"):
            left.send(right.inner, 0, 4)
    assert right.counters(there).in_packets == 3
    assert "XfrmOutStateSeqError 2" in " ".join(left.namespace.run("cat", "/proc/net/xfrm_stat").split())


def test_an_acquire_that_nobody_answers_leaves_nothing_behind(sides: tuple[Side, Side]) -> None:
    """What is left is looked for when the sides are stopped."""
    left, right = sides
    Tunnel(left, right)
    left.send(right.inner, 0)
    acquire = left.event(Acquire)
    assert (acquire.connection, acquire.cpu) == ("gw", None)
    assert acquire.packet is not None
    assert [str(end.first) for end in acquire.packet] == [left.inner, right.inner]
    assert "spi 0x00000000" in left.namespace.run("ip", "xfrm", "state")


def test_an_spi_that_is_taken_is_refused(sides: tuple[Side, Side]) -> None:
    left, right = sides
    here, _ = Tunnel(left, right).open()
    with pytest.raises(Exception, match="EEXIST"):
        left.namespace.call(left.backend.install(here))
