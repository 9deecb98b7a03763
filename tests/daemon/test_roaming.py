"""Real daemons whose hosts get other addresses while packets are under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ikeclone.control.models import Up
from ikeclone.demo.daemons import DaemonProcess, start_together
from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.pings import RunningPing, ping
from ikeclone.demo.tunnel import CONNECTION, DEVICE, EAST, EASTNET, IPSEC_CONF, WEST, WESTNET, hosts
from ikeclone.demo.waiting import wait_until

pytestmark = [pytest.mark.root, pytest.mark.alone]

SECRETS = '@west @east : PSK "a-secret-of-the-tests-of-roaming"\n'
ROAMED, MOVED = "192.1.2.46", "192.1.2.24"
HOME = WEST, EAST
BOUND = 5  # seconds until packets flow again after a move; it takes a tenth of that


class Pair:
    """Two daemons with the same configuration but for what differs; `start` brings the connection up."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self.hosts = stack.enter_context(hosts())
        for host in self.hosts:
            host.sysctl("net.ipv4.conf.all.promote_secondaries", 1)

    def make(self, index: int, change: Callable[[str], str]) -> DaemonProcess:
        host = self.hosts[index]
        directory = self._directory / host.name
        directory.mkdir()
        daemon = DaemonProcess(host, directory, change(IPSEC_CONF), SECRETS)
        self._stack.callback(daemon.stop)
        return daemon

    def start(self, west: Callable[[str], str], east: Callable[[str], str]) -> None:
        self.west, self.east = self.make(0, west), self.make(1, east)
        start_together(self.west, self.east)
        self.west.call(Up(name=CONNECTION))

    def pinging(self) -> RunningPing:
        return RunningPing(self.hosts[0], WESTNET, EASTNET)

    def await_paths(self, west: str, east: str) -> None:
        """Wait until the IKE SAs of both sides are between these addresses."""
        wanted = [(west, east), (east, west)]
        wait_until(lambda: [path(self.west), path(self.east)] == wanted, BOUND, f"IKE between {west} and {east}")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(tmp_path, stack)


def path(daemon: DaemonProcess) -> tuple[str, ...]:
    """The addresses of the one IKE SA, ours first."""
    return tuple(end.partition("[")[0] for sa in daemon.ike_sas() for end in sa.path.split("..."))


def serials(daemon: DaemonProcess) -> set[int]:
    """The numbers of all SAs."""
    return {sa.serial for sa in daemon.ike_sas()} | {row.serial for row in daemon.traffic().values()}


def mobile(conf: str) -> str:
    return conf + "        mobike=yes\n"


def renumber(host: Namespace, old: str, new: str) -> None:
    host.ip(f"address add {new}/24 dev {DEVICE}")
    host.ip(f"address del {old}/24 dev {DEVICE}")


@pytest.mark.parametrize(
    ("index", "new"),
    [(0, (ROAMED, EAST)), (1, (WEST, MOVED))],
    ids=["who initiated", "who responded"],
)
def test_all_sas_move(pair: Pair, index: int, new: tuple[str, str]) -> None:
    """And move back, and there again, with no new key and no new authentication."""
    pair.start(mobile, mobile)
    with pair.pinging() as pinging:
        pinging.await_replies()
        before = serials(pair.west), serials(pair.east)
        for old, there in ((HOME, new), (new, HOME), (HOME, new)):
            renumber(pair.hosts[index], old[index], there[index])
            pair.await_paths(*there)
            pinging.await_replies(patience=BOUND)
    after = serials(pair.west), serials(pair.east)
    assert all(former <= now for former, now in zip(before, after, strict=True))


def test_the_default_route_without_mobike(pair: Pair) -> None:
    """Another IKE SA from the new address."""
    pair.start(lambda conf: conf.replace(WEST, "%defaultroute"), lambda conf: conf.replace(WEST, "%any"))
    assert path(pair.west) == (WEST, EAST)
    before = serials(pair.west)
    renumber(pair.hosts[0], WEST, ROAMED)
    pair.await_paths(ROAMED, EAST)
    wait_until(lambda: ping(pair.hosts[0], WESTNET, EASTNET, patience=1), BOUND, "a tunnel from the new address")
    assert not before & serials(pair.west)


def test_a_fixed_address_that_goes_and_comes_back(pair: Pair) -> None:
    """Without MOBIKE the SAs wait for it."""
    pair.start(str, str)
    assert ping(pair.hosts[0], WESTNET, EASTNET)
    before = serials(pair.west)
    pair.hosts[0].ip(f"address del {WEST}/24 dev {DEVICE}")
    wait_until(lambda: "addresses: none" in pair.west.log.read_text(), BOUND, "the notice that the address has gone")
    assert not ping(pair.hosts[0], WESTNET, EASTNET, patience=1)
    pair.hosts[0].ip(f"address add {WEST}/24 dev {DEVICE}")
    wait_until(lambda: ping(pair.hosts[0], WESTNET, EASTNET, patience=1), BOUND, "packets through the tunnel")
    assert before <= serials(pair.west)


def test_a_connection_waits_for_its_address(pair: Pair) -> None:
    host = pair.hosts[0]
    host.ip(f"address del {WEST}/24 dev {DEVICE}")
    west, east = pair.make(0, lambda conf: conf.replace("auto=add", "auto=start")), pair.make(1, str)
    start_together(west, east)
    assert west.status().connections == []
    host.ip(f"address add {WEST}/24 dev {DEVICE}")
    wait_until(lambda: ping(host, WESTNET, EASTNET, patience=1), 2 * BOUND, "a tunnel once the address is there")
    assert path(east) == (EAST, WEST)
