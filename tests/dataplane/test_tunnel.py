"""The data plane in real namespaces: real packets, real CPUs, fixed keys."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path as FilePath

import pytest

from ikeclone.backend import (
    Acquire,
    BackendError,
    Encr,
    EspSuite,
    Expire,
    Integ,
    Limits,
    Lost,
    Remapped,
    TrafficSelector,
    Volume,
)
from ikeclone_esp import EspBackend
from tests.dataplane.conftest import started
from tests.dataplane.netns import Namespace
from tests.dataplane.sides import GCM, Side, Tunnel, ping

pytestmark = pytest.mark.root
CPUS = sorted(EspBackend().cpus())
ETH_P_IP = 0x0800
PINGED = {"10.1.0.1/32/1", "10.2.0.1/32/1"}
REPLY = re.compile(r"icmp_seq=(\d+)")


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for something that happens by itself."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def test_each_cpu_has_its_own_sa(tunnel: Tunnel) -> None:
    begin = time.monotonic()
    fallback = tunnel.add()
    clones = {cpu: tunnel.add(cpu, cpu) for cpu in CPUS}
    for cpu in CPUS:
        assert ping(tunnel.left, "10.2.0.1", cpu, count=5 + cpu) == 5 + cpu
    for side, counters in enumerate((tunnel.left.counters(), tunnel.right.counters())):
        assert counters[fallback[side]].out_packets == counters[fallback[side]].in_packets == 0
        for cpu in CPUS:
            count = counters[clones[cpu][side]]
            assert (count.out_packets, count.out_bytes) == (5 + cpu, 84 * (5 + cpu))
            assert (count.in_packets, count.in_bytes) == (5 + cpu, 84 * (5 + cpu))
            assert begin < count.in_last <= time.monotonic()
            assert not count.drops


def acquires(tunnel: Tunnel) -> list[Acquire]:
    return [event for event in tunnel.left.events if isinstance(event, Acquire)]


def test_fallback_carries_other_cpus_and_asks_for_a_clone(tunnel: Tunnel) -> None:
    fallback, begin = tunnel.add(), time.monotonic()
    for cpu in CPUS:
        assert ping(tunnel.left, "10.2.0.1", cpu, count=20) == 20
    seconds = time.monotonic() - begin
    counters = tunnel.left.counters()[fallback[0]]
    assert counters.out_packets == 20 * len(CPUS)
    assert counters.out_by_cpu == dict.fromkeys(CPUS, 20)
    wanted = {("net-net", cpu) for cpu in CPUS}
    until(lambda: {(each.connection, each.cpu) for each in acquires(tunnel)} == wanted)
    assert {str(selector) for each in acquires(tunnel) for selector in each.packet or ()} == PINGED
    assert len(tunnel.left.events) <= len(CPUS) * (1 + seconds)  # one a second, not one a packet


def test_a_deactivated_clone_still_receives(tunnel: Tunnel) -> None:
    fallback, clone = tunnel.add(), tunnel.add(CPUS[0], CPUS[0])
    tunnel.left.namespace.call(tunnel.left.backend.deactivate(clone[0]))
    assert ping(tunnel.left, "10.2.0.1", CPUS[0]) == 5
    assert tunnel.left.counters()[fallback[0]].out_packets == 5
    tunnel.left.namespace.call(tunnel.left.backend.deactivate(fallback[0]))
    assert ping(tunnel.right, "10.1.0.1", CPUS[0], count=1, patience=1) == 0  # the answer waits for an SA
    until(lambda: tunnel.left.counters()[clone[0]].in_packets == tunnel.right.counters()[clone[1]].out_packets >= 1)


def test_a_packet_waits_for_its_sa(tunnel: Tunnel) -> None:
    command = tunnel.left.namespace.command("ping", "-q", "-c1", "-W30", "10.2.0.1")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as waiting:
        until(lambda: tunnel.left.events)
        tunnel.add()
        assert waiting.wait(30) == 0


def test_packets_of_every_cpu_wait_for_the_fallback(tunnel: Tunnel) -> None:
    commands = [tunnel.left.namespace.command("taskset", "-c", str(cpu), "ping", "-q", "-c1", "-W30", "10.2.0.1")
                for cpu in CPUS]  # fmt: skip
    waiting = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    until(lambda: len(tunnel.left.events) == len(CPUS))
    tunnel.add()
    assert [process.wait(30) for process in waiting] == [0] * len(CPUS)


def test_esp_waits_for_its_sa(tunnel: Tunnel) -> None:
    """The peer may send as soon as it has our SPI, before we have installed anything."""
    left, right = tunnel.make()
    tunnel.install(tunnel.left, left)
    command = tunnel.left.namespace.command("ping", "-q", "-c1", "-W30", "10.2.0.1")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as waiting:
        until(lambda: tunnel.left.counters()[left.inbound_spi].out_packets)
        tunnel.install(tunnel.right, right)
        assert waiting.wait(30) == 0


@pytest.mark.parametrize("clones", [False, True])
def test_rekey_under_ping_loses_nothing(tunnel: Tunnel, clones: bool) -> None:
    old = {cpu: tunnel.add(cpu, cpu) for cpu in (None, *(CPUS if clones else []))}
    command = tunnel.left.namespace.command("ping", "-q", "-c400", "-i0.003", "-W10", "10.2.0.1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        for _ in range(3):
            for cpu, pair in old.items():
                old[cpu] = tunnel.add(cpu, cpu)
                until(lambda: arrived(tunnel, pair))  # noqa: B023
                tunnel.remove(pair)
        output, _ = running.communicate(timeout=60)
    assert " 0% packet loss" in output
    assert set(tunnel.left.counters()) == {pair[0] for pair in old.values()}
    assert not any(event for event in tunnel.left.events if not isinstance(event, Acquire))


def arrived(tunnel: Tunnel, spis: tuple[int, int]) -> bool:
    """Whether both sides have what the other one sent on a pair of SAs."""
    left, right = tunnel.left.counters()[spis[0]], tunnel.right.counters()[spis[1]]
    return (left.in_packets, right.in_packets) == (right.out_packets, left.out_packets)


def capture_esp(side: Side, command: list[str], count: int) -> list[bytes]:
    """The UDP payloads of the first packets that reach port 4500 while a command runs."""
    with side.namespace_socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0x0800) as sock:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=20)
        packets = list[bytes]()
        sock.settimeout(20)
        while len(packets) < count:
            packet = sock.recv(65535)
            if packet[9] == socket.IPPROTO_UDP and packet[22:24] == (4500).to_bytes(2, "big"):
                packets.append(packet[28:])
    return packets


def test_replays_and_forgeries_are_dropped_and_counted(tunnel: Tunnel) -> None:
    spi = tunnel.add()[1]
    command = tunnel.left.namespace.command("ping", "-q", "-c3", "-i0.01", "10.2.0.1")
    packets = capture_esp(tunnel.right, command, 3)
    forged = packets[0][:4] + (1000).to_bytes(4, "big") + packets[0][8:]
    with tunnel.left.namespace_socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for packet in (*packets, forged, forged[:20], b"\xff" * 50, b"\xff"):
            sock.sendto(packet, ("198.51.100.2", 4500))
    until(lambda: "malformed" in tunnel.right.counters()[spi].drops)
    counters = tunnel.right.counters()[spi]
    assert counters.in_packets == 3
    assert counters.drops == {"replay": 3, "integrity": 1, "malformed": 1}
    assert not any(isinstance(event, Remapped) for event in tunnel.right.events)
    until(lambda: "no-sa 1" in tunnel.right.backend.describe()["drops without an SA"])


def test_sequence_numbers_are_left_out(tunnel: Tunnel) -> None:
    """The peer takes what comes then; an SA that has no more of them is used up."""
    ours, theirs = tunnel.add()
    skip, one = tunnel.left.backend.skip, tunnel.left.namespace.command("ping", "-q", "-c1", "-W1", "10.2.0.1")
    (first,) = capture_esp(tunnel.right, one, 1)
    tunnel.left.namespace.call(skip(ours, 1 << 20))
    (second,) = capture_esp(tunnel.right, one, 1)
    numbers = [int.from_bytes(packet[4:8], "big") for packet in (first, second)]
    assert numbers == [1, 2 + (1 << 20)]
    assert tunnel.right.counters()[theirs].in_packets == 2
    assert not tunnel.right.counters()[theirs].drops
    tunnel.left.namespace.call(skip(ours, 1 << 32))
    assert ping(tunnel.left, "10.2.0.1", CPUS[0], count=1) == 0
    until(lambda: Expire(ours, hard=True) in tunnel.left.events)


def test_nothing_is_received_beyond_a_hard_limit(tunnel: Tunnel) -> None:
    """The right side may receive ten packets; the daemon is told, and until it removes the SA the rest is dropped."""
    left, right = tunnel.make()
    tunnel.install(tunnel.right, replace(right, limits=Limits(hard=Volume(packets=10))))
    tunnel.install(tunnel.left, left)
    many = tunnel.left.namespace.command("ping", "-q", "-c30", "-i0.01", "-W1", "10.2.0.1")
    subprocess.run(many, check=False, stdout=subprocess.DEVNULL, timeout=20)
    until(lambda: tunnel.right.counters()[right.inbound_spi].drops == {"exhausted": 20})
    assert tunnel.right.counters()[right.inbound_spi].in_packets == 10
    assert tunnel.left.counters()[left.inbound_spi].in_packets == 10
    until(lambda: Expire(right.inbound_spi, hard=True) in tunnel.right.events)


def test_ike_and_keepalives_stay_with_the_daemon(tunnel: Tunnel) -> None:
    tunnel.right.sock.settimeout(20)
    with tunnel.left.namespace_socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for i in range(20):
            for message in (b"\xff", bytes(4) + b"IKE %d" % i):
                sock.sendto(message, ("198.51.100.2", 4500))
                assert tunnel.right.sock.recv(100) == message


def test_a_new_address_is_reported_and_followed_when_told(tunnel: Tunnel) -> None:
    """The test plays the NAT: the left side's packets go through two sockets and come from another port."""
    spis = tunnel.add()
    left, right = tunnel.left, tunnel.right
    left.namespace.call(left.backend.move(spis[0], replace(left.path(right), remote_port=4501), True))
    moved = replace(right.path(left), remote_port=7777)
    command = left.namespace.command("ping", "-q", "-c1", "-W1", "10.2.0.1")
    with (
        right.namespace_socket(socket.AF_INET, socket.SOCK_DGRAM) as inside,
        left.namespace_socket(socket.AF_INET, socket.SOCK_DGRAM) as outside,
    ):
        inside.bind((right.outer, 4501))
        outside.bind((left.outer, 7777))
        for sock in (inside, outside):
            sock.settimeout(20)
        for told in (False, True):
            with subprocess.Popen(command, stdout=subprocess.DEVNULL):
                outside.sendto(inside.recv(2000), (right.outer, 4500))
                until(lambda: right.counters()[spis[1]].in_packets)
                if told:
                    assert outside.recv(2000)[:4] == spis[0].to_bytes(4, "big")
                right.namespace.call(right.backend.move(spis[1], moved, True))
    assert [event for event in right.events if isinstance(event, Remapped)] == [Remapped(spis[1], moved)]


def test_an_sa_sends_from_a_port_of_its_own_and_its_successor_from_the_same(tunnel: Tunnel) -> None:
    left, right = tunnel.left, tunnel.right
    with right.namespace_socket(socket.AF_PACKET, socket.SOCK_DGRAM, ETH_P_IP) as wire:
        wire.settimeout(20)
        for _ in range(2):
            sa, other = tunnel.make()
            tunnel.install(right, other)
            tunnel.install(left, replace(sa, path=replace(sa.path, local_port=50001)))
            assert ping(left, "10.2.0.1", CPUS[0], count=2) == 2
            assert _source_port(wire, other.inbound_spi) == 50001
        left.namespace.call(left.backend.move(sa.inbound_spi, replace(sa.path, local_port=50002), True))
        assert ping(left, "10.2.0.1", CPUS[0], count=2) == 2
        while _source_port(wire, other.inbound_spi) != 50002:
            continue  # what was sent before
    assert not [event for event in left.events if isinstance(event, Remapped)]


def test_an_sa_whose_port_somebody_else_has_sends_from_the_common_one(tunnel: Tunnel) -> None:
    left, right = tunnel.left, tunnel.right
    with (
        right.namespace_socket(socket.AF_PACKET, socket.SOCK_DGRAM, ETH_P_IP) as wire,
        left.namespace_socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody,
    ):
        wire.settimeout(20)
        somebody.bind((left.outer, 50001))
        sa, other = tunnel.make()
        tunnel.install(right, other)
        tunnel.install(left, replace(sa, path=replace(sa.path, local_port=50001)))
        assert ping(left, "10.2.0.1", CPUS[0], count=2) == 2
        assert _source_port(wire, other.inbound_spi) == 4500


def _source_port(wire: socket.socket, spi: int) -> int:
    """The UDP source port of the next packet with this SPI on the wire: a packet socket's IPv4 packets."""
    while True:
        packet = wire.recv(2000)
        if packet[9] == socket.IPPROTO_UDP and packet[28:32] == spi.to_bytes(4, "big"):
            return int.from_bytes(packet[20:22], "big")


def test_no_packet_is_lost_while_a_policy_is_replaced_by_its_like(tunnel: Tunnel) -> None:
    tunnel.add()
    command = tunnel.left.namespace.command("ping", "-q", "-i", "0.001", "-c", "500", "-W", "10", "10.2.0.1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pings:
        while pings.poll() is None:
            tunnel.route()
        assert pings.stdout is not None
        assert " 0% packet loss" in pings.stdout.read()


def test_a_rekeyed_sa_receives_a_moment_longer(tunnel: Tunnel) -> None:
    """The right side has done with the old SA; the left side goes on sending on it, and receives on the new one."""
    old = tunnel.add()
    left, right = tunnel.left, tunnel.right
    sa, other = tunnel.make()
    left.namespace.call(left.backend.install(replace(sa, replaces=old[0])))
    tunnel.install(right, replace(other, replaces=old[1]))
    with pinging(left, "10.2.0.1") as replies:
        assert next(replies)
        right.namespace.call(right.backend.remove(old[1]))
        assert set(right.counters()) == {other.inbound_spi}
        before = left.counters()[old[0]].out_packets
        assert any(number > before for number in replies)
        until(lambda: "no-sa" in right.backend.describe()["drops without an SA"])


@contextmanager
def pinging(side: Side, address: str) -> Iterator[Iterator[int]]:
    """A ping in the background, a hundred a second; gives the sequence number of each reply."""
    command = side.namespace.command("ping", "-n", "-i0.01", address)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield (int(reply[1]) for line in process.stdout if (reply := REPLY.search(line)))
        finally:
            process.terminate()


def test_a_dead_worker_is_replaced(tunnel: Tunnel, caplog: pytest.LogCaptureFixture) -> None:
    fallback, clone = tunnel.add(), tunnel.add(CPUS[-1], CPUS[-1])
    lost = {spi for spi in (fallback[0], clone[0]) if spi % len(CPUS) == len(CPUS) - 1}
    time.sleep(2)  # a worker that ends at once would be replaced with a delay only
    before = tunnel.left.backend.describe()["workers"]
    pid = int(before.rsplit(" ", 1)[1])
    os.kill(pid, signal.SIGKILL)
    until(lambda: any(isinstance(event, Lost) for event in tunnel.left.events))
    (event,) = (event for event in tunnel.left.events if isinstance(event, Lost))
    assert set(event.inbound_spis) == lost
    assert f"pid {pid}" in event.reason
    assert "signal 9" in event.reason
    assert set(tunnel.left.counters()) == {fallback[0], clone[0]} - lost
    until(lambda: tunnel.left.backend.describe()["workers"] != before)
    tunnel.add()
    tunnel.add(CPUS[-1], CPUS[-1])
    assert ping(tunnel.left, "10.2.0.1", CPUS[-1]) == 5
    assert any(record.levelname == "WARNING" and f"pid {pid}" in record.message for record in caplog.records)


def test_workers_are_pinned_and_have_no_privileges(tunnel: Tunnel) -> None:
    for cpu, part in zip(CPUS, tunnel.left.backend.describe()["workers"].split(", "), strict=True):
        pid = int(part.rsplit(" ", 1)[1])
        assert os.sched_getaffinity(pid) == {cpu}
        status = dict(
            line.split(":\t") for line in FilePath(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        assert status["NoNewPrivs"] == "1"
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[name], 16) == 0


def test_routes_do_not_swallow_the_peer(namespaces: tuple[Namespace, Namespace]) -> None:
    """From host to host, and everything into the tunnel."""
    left = Side(namespaces[0], "198.51.100.1", "198.51.100.1/32", "198.51.100.1")
    right = Side(namespaces[1], "198.51.100.2", "0.0.0.0/0", "198.51.100.2")
    for tunnel in started(left, right):
        spis = tunnel.add()
        assert ping(left, "198.51.100.2", CPUS[0]) == 5
        assert ping(left, "203.0.113.1", CPUS[0], count=1, patience=1) == 0
        assert left.counters()[spis[0]].out_packets == 6


@pytest.mark.parametrize("suite", [
    GCM, replace(GCM, esn=True), EspSuite(Encr.CHACHA20_POLY1305, 256, Integ.NONE),
    EspSuite(Encr.AES_CBC, 128, Integ.HMAC_SHA2_256_128), EspSuite(Encr.AES_CBC, 256, Integ.HMAC_SHA2_512_256, True),
], ids=str)  # fmt: skip
def test_suites_and_full_packets(tunnel: Tunnel, suite: EspSuite) -> None:
    tunnel.suite = suite
    tunnel.add()
    left = tunnel.left.namespace
    mtu = json.loads(left.run("ip", "-j", "link", "show", device(tunnel.left)))[0]["mtu"]
    left.run("ping", "-q", "-c2", "-i0.01", "-W10", "-M", "do", "-s", str(mtu - 28), "10.2.0.1")
    transfer(tunnel, "10.2.0.1", 8_000_000)


FAMILIES = [
    ("198.51.100.%d", "10.%d.0.0/24", "10.%d.0.1"),
    ("198.51.100.%d", "2001:db8:%d::/64", "2001:db8:%d::1"),
    ("2001:db8::%d", "10.%d.0.0/24", "10.%d.0.1"),
    ("2001:db8::%d", "2001:db8:%d::/64", "2001:db8:%d::1"),
]


@pytest.mark.parametrize("encapsulation", [True, False], ids=["udp", "raw"])
@pytest.mark.parametrize("family", FAMILIES, ids=["4in4", "6in4", "4in6", "6in6"])
def test_any_family_in_any(
    namespaces: tuple[Namespace, Namespace], family: tuple[str, str, str], encapsulation: bool
) -> None:
    left, right = (Side(namespaces[i - 1], family[0] % i, family[1] % i, family[2] % i) for i in (1, 2))
    for tunnel in started(left, right):
        tunnel.encapsulation = encapsulation
        fallback = tunnel.add()
        clone = tunnel.add(CPUS[0], CPUS[-1])
        for cpu in CPUS:
            assert ping(left, right.source, cpu) == 5
        assert left.counters()[clone[0]].out_packets == 5
        assert left.counters()[fallback[0]].out_packets == 5 * (len(CPUS) - 1)
        transfer(tunnel, right.source, 4_000_000)
        assert not any(isinstance(event, Remapped) for event in (*left.events, *right.events))


def test_the_host_has_an_address_inside_the_tunnel_for_as_long_as_the_policy(tunnel: Tunnel) -> None:
    left, right = tunnel.left, tunnel.right
    inside = ip_address("10.3.0.1")
    selector = (TrafficSelector.of(ip_network(inside)),)
    call = left.namespace.call
    call(left.backend.route(replace(left.policy(right), local=selector, addresses=(inside,))))
    right.namespace.call(right.backend.route(replace(right.policy(left), remote=selector)))
    ours, theirs = tunnel.make()
    tunnel.install(right, replace(theirs, remote=selector))
    tunnel.install(left, replace(ours, local=selector))
    assert ping(left, "10.2.0.1", CPUS[0]) == 5
    assert ping(right, "10.3.0.1", CPUS[0]) == 5
    assert left.counters()[ours.inbound_spi].in_packets == 10
    assert "from 198.51.100.1 lookup main" in left.namespace.run("ip", "rule")
    call(left.backend.unroute("net-net"))
    assert "10.3.0.1" not in left.namespace.run("ip", "address")
    assert "198.51.100.1" not in left.namespace.run("ip", "rule")


def test_what_somebody_takes_is_put_back(tunnel: Tunnel, caplog: pytest.LogCaptureFixture) -> None:
    tunnel.add()
    left = tunnel.left.namespace
    before = sorted(traces(left))
    for taken in ("rule del priority 9611", "rule del priority 9610", "route flush table 9611"):
        caplog.clear()
        left.ip(taken)
        until(lambda: "is put back" in caplog.text)
        until(lambda: sorted(traces(left)) == before)
    assert ping(tunnel.left, "10.2.0.1", CPUS[0]) == 5


def device(side: Side) -> str:
    return side.backend.describe()["device"]


def transfer(tunnel: Tunnel, address: str, octets: int) -> None:
    """A TCP connection from left to right that carries random octets, compared at the end."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    data = os.urandom(octets)
    with tunnel.right.namespace_socket(family, socket.SOCK_STREAM) as server:
        server.bind((address, 0))
        server.listen()
        with tunnel.left.namespace_socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(60)
            client.connect(server.getsockname()[:2])
            connection, _ = server.accept()
            received = bytearray()
            with connection:
                connection.settimeout(60)
                connection.setblocking(False)
                client.setblocking(False)
                position, deadline = 0, time.monotonic() + 60
                while len(received) < octets:
                    assert time.monotonic() < deadline
                    try:
                        position += client.send(data[position : position + (1 << 18)])
                    except BlockingIOError:
                        time.sleep(0.001)
                    try:
                        while len(received) < octets:
                            received += connection.recv(1 << 20)
                    except BlockingIOError:
                        continue
    assert received == data


def test_nothing_is_left(namespaces: tuple[Namespace, Namespace]) -> None:
    left = Side(namespaces[0], "198.51.100.1", "10.1.0.0/24", "10.1.0.1")
    right = Side(namespaces[1], "198.51.100.2", "10.2.0.0/24", "10.2.0.1")
    fds = set(os.listdir("/proc/self/fd"))
    for tunnel in started(left, right):
        tunnel.add()
        assert traces(left.namespace)
        workers = left.backend.describe()["workers"]
    assert not traces(left.namespace)
    assert set(os.listdir("/proc/self/fd")) == fds
    for part in workers.split(", "):
        assert not os.path.exists(f"/proc/{part.rsplit(' ', 1)[1]}")


def traces(namespace: Namespace) -> list[str]:
    """What in the system's configuration has the data plane's device or tables in it."""
    commands = (["ip", "link"], ["ip", "rule"], ["ip", "-6", "rule"], *(
        ["ip", family, "route", "show", "table", "all"] for family in ("-4", "-6")
    ))  # fmt: skip
    lines = [line for command in commands for line in namespace.run(*command).splitlines()]
    return [line for line in lines if "ikeclone" in line or "961" in line]


@pytest.fixture
def lone(namespaces: tuple[Namespace, Namespace]) -> Iterator[Side]:
    side = Side(namespaces[0], "198.51.100.1", "10.1.0.0/24", "10.1.0.1")
    side.start()
    yield side
    side.stop()


def test_refusals_say_what_to_do(lone: Side) -> None:
    backend, call = lone.backend, lone.namespace.call
    other = Side(lone.namespace, "198.51.100.2", "10.2.0.0/24", "10.2.0.1")
    with pytest.raises(BackendError, match=r"prefsrc 10\.2\.0\.1"):
        call(backend.route(other.policy(lone)))
    left, _ = Tunnel(lone, lone).make()
    with pytest.raises(BackendError, match="was not allocated for CPU"):
        call(backend.install(replace(left, cpu=CPUS[left.inbound_spi % len(CPUS) - 1])))
    elsewhere = replace(left, path=replace(left.path, local=ip_address("198.51.100.9")))
    with pytest.raises(BackendError, match=r"does not listen there"):
        call(backend.install(elsewhere))
    assert not lone.counters()
    with pytest.raises(BackendError, match="no SA with inbound SPI"):
        call(backend.activate(left.inbound_spi))
    call(backend.remove(12345))
    with lone.namespace_socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 4500))
        with pytest.raises(BackendError, match=r"port 4500 of 127\.0\.0\.1 is in use"):
            call(share(backend, sock))


async def share(backend: EspBackend, sock: socket.socket) -> None:
    backend.share(sock)
