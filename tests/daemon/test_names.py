"""A road warrior that uses its gateway's name servers; resolvconf is a script that writes down what it is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ikeclone.control.models import Down, Up
from ikeclone.demo.daemons import DaemonProcess, start_together
from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.tunnel import CONNECTION, hosts
from ikeclone.demo.waiting import wait_until
from tests.daemon.test_clones import SECRETS

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

CONF = f"""\
config setup
    dns-resolver={{resolver}}
conn {CONNECTION}
    left={{left}}
    leftid=@west
    right=192.1.2.23
    rightid=@east
    rightsubnet=192.0.2.0/24
    authby=secret
    auto=add
"""
GATEWAY = """\
    leftaddresspool=10.3.0.0/24
    modecfgdns="192.0.2.53 192.0.2.54"
    modecfgdomains="example.org lab"
"""
VARIABLES = "$PLUTO_VERB|$PLUTO_CFG_CLIENT|$PLUTO_PEER_DNS_INFO|$PLUTO_PEER_DOMAIN_INFO|$PLUTO_DNS4_2"
ADDED = ["resolvconf -a ikeclone.ipsec", "nameserver 192.0.2.53", "nameserver 192.0.2.54", "search example.org lab"]
DELETED = ["resolvconf -d ikeclone.ipsec"]


class Hosts:
    """West, the road warrior, and east, its gateway; `told` is what resolvconf was told, `seen` what updown saw."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._told, self._seen = directory / "told", directory / "seen"
        self._script(directory / "resolvconf", f'(echo "resolvconf $*"; cat) >>{self._told}')
        self._script(directory / "updown", f'echo "{VARIABLES}" >>{self._seen}')
        west, east = stack.enter_context(hosts())
        road = CONF.format(left="192.1.2.45", resolver="resolvconf")
        road += f"    leftmodecfgclient=yes\n    leftupdown={directory / 'updown'}\n"
        self.west, self.east = (
            self._daemon(host, directory / host.name, conf)
            for host, conf in ((west, road), (east, CONF.format(left="%any", resolver="no") + GATEWAY))
        )
        start_together(self.east, self.west)
        for daemon in (self.east, self.west):
            stack.callback(daemon.stop)

    @staticmethod
    def _script(path: Path, line: str) -> None:
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    @staticmethod
    def _daemon(host: Namespace, directory: Path, conf: str) -> DaemonProcess:
        directory.mkdir()
        return DaemonProcess(host, directory, conf, SECRETS)

    def told(self) -> list[str]:
        return self._told.read_text().splitlines() if self._told.exists() else []

    def seen(self) -> list[str]:
        return self._seen.read_text().splitlines() if self._seen.exists() else []

    def await_told(self, lines: list[str]) -> None:
        wait_until(lambda: self.told() == lines, 20, f"resolvconf told of {lines}")


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with ExitStack() as stack:
        yield Hosts(tmp_path, stack)


def test_its_name_servers_are_used_while_it_is_up_and_what_a_crash_leaves_is_undone(both: Hosts) -> None:
    both.await_told(DELETED)
    both.west.call(Up(name=CONNECTION))
    both.await_told(DELETED + ADDED)
    given = "|1|192.0.2.53 192.0.2.54|example.org lab|192.0.2.54"
    wait_until(lambda: both.seen()[-1:] == [f"up-client{given}"], 20, "the variables of updown")
    both.west.call(Down(name=CONNECTION))
    both.await_told(DELETED + ADDED + DELETED)
    wait_until(lambda: f"down-client{given}" in both.seen(), 20, "those at its end")
    both.west.call(Up(name=CONNECTION))
    both.await_told(2 * (DELETED + ADDED))
    both.west.process.kill()
    both.west.process.wait()
    both.west.start()
    both.await_told(2 * (DELETED + ADDED) + DELETED)
