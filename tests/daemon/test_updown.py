"""leftupdown= with real daemons: a script that writes down its verbs, one that fails, and one that does not end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ikeclone.control.models import Down, Rekey, Up
from ikeclone.demo.daemons import DaemonProcess, start_together
from ikeclone.demo.pings import ping
from ikeclone.demo.tunnel import CONNECTION, EASTNET, IPSEC_CONF, WESTNET, hosts
from ikeclone.demo.waiting import wait_until
from tests.daemon.test_clones import SECRETS, serials

pytestmark = pytest.mark.root

ROUTED = ["prepare-client", "route-client", "up-client"]
GONE = ["down-client", "unroute-client"]


class Hosts:
    """West, whose connection has a script, and east; `run` is where the script writes its verbs."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self._namespaces = stack.enter_context(hosts())
        self.record = directory / "record"
        self.record.touch()

    def start(self, script: str) -> None:
        """Start both daemons; `script` is what the script does beside writing."""
        path = self._directory / "updown"
        path.write_text(
            f'#!/bin/sh\necho "$PLUTO_VERB $PLUTO_PEER_CLIENT $PLUTO_INTERFACE $1" >>{self.record}\n{script}\n'
        )
        path.chmod(0o755)
        self.west, self.east = (self._daemon(i, text) for i, text in enumerate((f'leftupdown="{path} word"', "")))
        start_together(self.west, self.east)
        for side in (self.west, self.east):
            self._stack.callback(side.stop)

    def _daemon(self, index: int, line: str) -> DaemonProcess:
        namespace = self._namespaces[index]
        directory = self._directory / namespace.name
        directory.mkdir()
        return DaemonProcess(namespace, directory, f"{IPSEC_CONF}        {line}\n", SECRETS)

    def verbs(self) -> list[str]:
        return [line.split()[0] for line in self.record.read_text().splitlines()]

    def await_verbs(self, verbs: list[str]) -> None:
        wait_until(lambda: self.verbs() == verbs, 30, f"the verbs {verbs}")

    def replies(self) -> int:
        return len(ping(self.west.namespace, WESTNET, EASTNET, 2))


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(tmp_path, stack)


def test_up_rekeyed_down_and_up_until_the_daemon_ends(both: Hosts) -> None:
    both.start("echo said by $PLUTO_VERB")
    both.west.call(Up(name=CONNECTION))
    both.await_verbs(ROUTED)
    before = serials(both.west)
    both.west.call(Rekey(name=CONNECTION))
    wait_until(lambda: not before & serials(both.west), 30, "new SAs in place of all")
    both.west.call(Down(name=CONNECTION))
    both.await_verbs(ROUTED + GONE)
    both.west.call(Up(name=CONNECTION))
    both.await_verbs(ROUTED + GONE + ROUTED)
    assert both.west.stop() == 0
    assert both.verbs() == 2 * (ROUTED + GONE)
    assert set(both.record.read_text().splitlines()) == {f"{verb} 192.0.2.0/24 eth1 word" for verb in ROUTED + GONE}
    log = both.west.log.read_text()
    assert f"INFO {CONNECTION}: up-client: said by up-client" in log
    assert "WARNING" not in log


def test_a_script_that_fails_takes_nothing_from_the_tunnel(both: Hosts) -> None:
    both.start("exit 9")
    both.west.call(Up(name=CONNECTION))
    both.await_verbs(ROUTED)
    assert both.replies() == 2
    wait_until(lambda: "up-client: " in both.west.last_words(), 30, "a word about the failure")
    assert (
        f"WARNING {CONNECTION}: up-client: {both.record.parent}/updown ended with exit code 9"
        in both.west.log.read_text()
    )


def test_nobody_waits_for_a_script_that_does_not_end(both: Hosts) -> None:
    both.start("[ $PLUTO_VERB != prepare-client ] || exec sleep 600")
    both.west.call(Up(name=CONNECTION))
    both.await_verbs(ROUTED[:1])
    assert both.replies() == 2
    both.await_verbs(ROUTED)
    assert "takes more than 10 seconds" in both.west.log.read_text()
