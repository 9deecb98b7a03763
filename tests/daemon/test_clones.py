"""Real daemons, real packets: clones opened, rekeyed, idle and back, as a user sees them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from ikeclone.control.models import ClonesReport, Rekey, TrafficRow, Up
from ikeclone.demo.daemons import DaemonProcess, start_together
from ikeclone.demo.pings import RunningPing, ping
from ikeclone.demo.tunnel import CONNECTION, EASTNET, IPSEC_CONF, WESTNET, hosts
from ikeclone.demo.waiting import wait_until
from ikeclone.reports import View
from interop.lab import cpus
from tests.bench.hosts import lost_packets, running, sending
from tests.dataplane.netns import Namespace
from tests.pair.network import NAME

pytestmark = pytest.mark.root

SECRETS = '@west @east : PSK "a-secret-of-the-tests-of-clones"\n'
CPUS = cpus()[:2]
PINGS = 1000
EVERY = 0.01  # seconds between two pings on a CPU


class Pair:
    """Two daemons in namespaces, each with settings of its own in place of `clones=2`."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self._namespaces = stack.enter_context(hosts())

    def start(self, west: str = "", east: str = "") -> None:
        self.west, self.east = (self._daemon(i, settings) for i, settings in enumerate((west, east)))
        start_together(self.west, self.east)
        self.west.call(Up(name=CONNECTION))

    def _daemon(self, index: int, settings: str) -> DaemonProcess:
        namespace = self._namespaces[index]
        directory = self._directory / namespace.name
        directory.mkdir()
        conf = IPSEC_CONF.replace("clones=2", "\n        ".join(settings.split() or ["clones=2"]))
        daemon = DaemonProcess(namespace, directory, conf, SECRETS)
        self._stack.callback(daemon.stop)
        return daemon

    def ping(self, cpu: int, count: int = 1) -> int:
        return len(ping(self.west.namespace, WESTNET, EASTNET, count, (cpu,)))

    def pinging(self, cpu: int) -> RunningPing:
        return RunningPing(self.west.namespace, WESTNET, EASTNET, EVERY, (cpu,))

    def open_clones(self) -> None:
        """Ping on each CPU until both sides send on clones."""
        for cpu in CPUS:
            self.open_clone(cpu)
        wait_until(lambda: all(side.settled(CONNECTION) for side in (self.west, self.east)), 30, "clones that send")

    def open_clone(self, cpu: int) -> None:
        """Ping on a CPU until it has a clone."""
        wait_until(lambda: self.ping(cpu) and cpu in by_cpu(self.west), 30, f"the clone of CPU {cpu}")

    def await_rekeys(self) -> None:
        """Wait until other SAs are there in place of all."""
        before = serials(self.west)
        wait_until(lambda: not before & serials(self.west), 30, "new SAs in place of all")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(tmp_path, stack)


def by_cpu(daemon: DaemonProcess) -> dict[int | None, TrafficRow]:
    return {row.cpu: row for row in daemon.traffic().values()}


def serials(daemon: DaemonProcess) -> set[int]:
    return {row.serial for row in daemon.traffic().values()}


def clone_serials(daemon: DaemonProcess) -> set[int]:
    return {row.serial for row in daemon.traffic().values() if row.cpu is not None}


def clones_json(daemon: DaemonProcess) -> dict[str, Any]:
    """What `ikeclone clones NAME --json` says."""
    report: dict[str, Any] = json.loads(daemon.command("clones", CONNECTION, "--json"))
    return report


@pytest.mark.alone
class TestRekey:
    def test_no_ping_is_lost_while_every_sa_is_rekeyed_every_two_seconds(self, pair: Pair) -> None:
        """1000 pings on each CPU, at 100 a second; the sides take turns."""
        pair.start()
        pair.open_clones()
        rounds = int(PINGS * EVERY / 2)
        with ExitStack() as stack:
            pings = [stack.enter_context(pair.pinging(cpu)) for cpu in CPUS]
            for side in islice(cycle((pair.west, pair.east)), rounds):
                before = serials(side)
                side.call(Rekey(name=CONNECTION))
                pings[0].await_replies(PINGS // rounds, 20)
                assert not before & serials(side)
            for one in pings[1:]:  # they may be behind
                wait_until(lambda: one.answered >= PINGS, 30, "replies on the other CPU")  # noqa: B023
        assert [one.lost for one in pings] == [[] for _ in CPUS]
        assert all(one.replies >= PINGS for one in pings)
        for side in (pair.west, pair.east):
            assert sorted(by_cpu(side), key=str) == sorted([None, *CPUS], key=str)

    def test_no_ping_is_lost_when_lifetimes_are_short(self, pair: Pair) -> None:
        """Every SA is rekeyed after 2 to 3 seconds, by whichever side's timer is first."""
        short = "clones=2 salifetime=4s rekeymargin=2s rekeyfuzz=0%"
        pair.start(short, short)
        pair.open_clones()
        with ExitStack() as stack:
            pings = [stack.enter_context(pair.pinging(cpu)) for cpu in CPUS]
            for _ in range(2):
                pair.await_rekeys()
            for one in pings:
                one.await_replies()
        assert [one.lost for one in pings] == [[] for _ in CPUS]
        assert sorted(by_cpu(pair.west), key=str) == sorted([None, *CPUS], key=str)

    def test_no_ping_is_lost_when_volumes_are_small(self, pair: Pair) -> None:
        """Every clone is rekeyed after 300 to 500 packets, by whichever side counts so many first."""
        small = "clones=2 ipsec-max-packets=800"
        pair.start(small, small)
        pair.open_clones()
        with ExitStack() as stack:
            pings = [stack.enter_context(pair.pinging(cpu)) for cpu in CPUS]
            for _ in range(2):
                before = clone_serials(pair.west)
                wait_until(lambda: not before & clone_serials(pair.west), 30, "new clones in place of all")  # noqa: B023
            for one in pings:
                one.await_replies()
        assert [one.lost for one in pings] == [[] for _ in CPUS]
        assert sorted(by_cpu(pair.west), key=str) == sorted([None, *CPUS], key=str)
        assert all(max(row.in_packets, row.out_packets) < 800 for row in pair.west.traffic().values())


class TestModes:
    def test_eager_opens_every_clone_without_a_packet(self, pair: Pair) -> None:
        pair.start("clones=yes clones-mode=eager")
        wait_until(lambda: len(by_cpu(pair.west)) == 1 + len(CPUS), 30, "a clone for each CPU")
        assert all(row.out_packets == 0 for row in pair.west.traffic().values())
        assert [row["opened_by"] for row in clones_json(pair.west)["rows"]] == ["us"] * (1 + len(CPUS))
        assert [row["opened_by"] for row in clones_json(pair.east)["rows"]] == ["peer"] * (1 + len(CPUS))

    def test_idle_clones_go_and_traffic_brings_them_back(self, pair: Pair) -> None:
        pair.start("clones=2 clones-idle=1s")
        pair.open_clones()
        wait_until(lambda: list(by_cpu(pair.west)) == [None], 30, "the fallback alone")
        wait_until(lambda: list(by_cpu(pair.east)) == [None], 30, "the fallback alone at the peer")
        states = {row["cpu"]: row["state"] for row in clones_json(pair.west)["rows"]}
        assert states == {None: "installed"} | dict.fromkeys(CPUS, "fallback")
        pair.open_clones()
        over_fallback = {row["cpu"]: row["over_fallback"] for row in clones_json(pair.west)["rows"]}
        assert all(over_fallback[cpu] >= 2 for cpu in CPUS), "the first packet, and the first one afterwards"

    def test_a_port_for_each_clone(self, pair: Pair) -> None:
        """Both sides send from ports of their own; neither takes that for a NAT that has moved."""
        pair.start(*["clones=2 clones-encap=yes"] * 2)
        pair.open_clones()
        for cpu in CPUS:
            assert pair.ping(cpu, 5) == 5
        assert [sa.path for side in (pair.west, pair.east) for sa in side.ike_sas()] == [
            "192.1.2.45[4500]...192.1.2.23[4500]",
            "192.1.2.23[4500]...192.1.2.45[4500]",
        ]


class TestLimits:
    def test_one_clone_here_and_more_at_the_peer(self, pair: Pair) -> None:
        """A CPU without a clone of ours goes on over the fallback, whatever the peer opens for its own CPUs."""
        pair.start("clones=1")
        pair.open_clone(CPUS[0])
        assert all(pair.ping(cpu, 5) == 5 for cpu in CPUS)
        report = clones_json(pair.west)
        assert (report["limit"], report["refused"], report["retry_in"]) == (1, False, None)
        assert sum(row["opened_by"] == "us" and row["cpu"] is not None for row in report["rows"]) == 1

    def test_a_peer_of_fewer_cpus_takes_no_more(self) -> None:
        """Eight CPUs here, two there, on real sockets: four clones are taken, and the other CPUs wait a minute."""
        namespace = Namespace()
        try:
            namespace.run("ip", "link", "set", "lo", "up")
            report, lost = namespace.call(refused_clones(8, 2))
        finally:
            namespace.close()
        assert report.refused
        assert report.refusal == "TS_MAX_QUEUE"
        assert report.refusals >= 1
        assert report.retry_in is not None
        assert 50 < report.retry_in <= 60
        assert sum(row.opened_by == "us" and row.cpu is not None for row in report.rows) == 4
        assert sum(row.state == "fallback" for row in report.rows) == 4
        assert lost == 0


async def refused_clones(cpus: int, fewer: int) -> tuple[ClonesReport, int]:
    """The report of a side that sends on all its CPUs to a peer that has fewer, and how many packets were lost."""
    async with running(cpus, fewer) as (west, east):
        clones = west.tunnel.clones
        await sending(lambda: clones.refused_until > 0 and not clones.pending, west, east)
        view = View(west.endpoint, await west.backend.counters(), time.monotonic(), time.time())
        return view.clones(NAME), await lost_packets(west, east)
