"""A running daemon whose configuration is changed: what is as before stays up, and a mistake loses nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ikeclone.control.models import Done, Reload, Up
from ikeclone.demo.daemons import DaemonProcess, start_together
from ikeclone.demo.pings import RunningPing, ping
from ikeclone.demo.tunnel import CONNECTION, EASTNET, IPSEC_CONF, WESTNET, hosts
from ikeclone.demo.waiting import wait_until
from ikeclone.errors import ControlError

pytestmark = pytest.mark.root

SECRETS = '@west @east : PSK "a-secret-of-the-tests-of-reload"\n'
OTHER = f"conn other\n\talso={CONNECTION}\n\tleftsubnet=192.0.3.0/24\n\trightsubnet=192.0.4.0/24\n\tauto=start\n"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[DaemonProcess, DaemonProcess]]:
    """Two daemons, the connection up."""
    with hosts() as namespaces:
        daemons = []
        for namespace in namespaces:
            (tmp_path / namespace.name).mkdir()
            daemons.append(DaemonProcess(namespace, tmp_path / namespace.name, IPSEC_CONF, SECRETS))
        west, east = daemons
        start_together(west, east)
        west.call(Up(name=CONNECTION))
        yield west, east
        for daemon in daemons:
            daemon.stop()


def reload(daemon: DaemonProcess, conf: str, secrets: str = SECRETS) -> str:
    """Change its files and have it read them; what it says."""
    write(daemon, conf, secrets)
    report = daemon.call(Reload())
    assert isinstance(report, Done)
    return report.text


def write(daemon: DaemonProcess, conf: str, secrets: str = SECRETS) -> None:
    (daemon.log.parent / "ipsec.conf").write_text(conf)
    (daemon.log.parent / "ipsec.secrets").write_text(secrets)


def serials(daemon: DaemonProcess) -> tuple[set[int], set[int]]:
    """The numbers of its IKE SAs and of its Child SAs."""
    return {sa.serial for sa in daemon.ike_sas()}, {row.serial for row in daemon.traffic().values()}


def states(daemon: DaemonProcess) -> dict[str, str]:
    return {row.name: row.state for row in daemon.status().connections}


def test_reload(pair: tuple[DaemonProcess, DaemonProcess]) -> None:
    west, east = pair
    before = serials(west)
    with RunningPing(west.namespace, WESTNET, EASTNET) as pings:
        pings.await_replies(5)
        # Mistakes in either file: they are told, and nothing changes.
        with pytest.raises(ControlError, match=r"nothing is changed:\n.*ipsec.conf:11: .*auto=strat: must be one of"):
            reload(west, f"# more\n{IPSEC_CONF}".replace("auto=add", "auto=strat"))
        with pytest.raises(ControlError, match=r"ipsec.secrets:1: a quote is not closed"):
            reload(west, IPSEC_CONF, SECRETS.removesuffix('"\n'))
        with pytest.raises(ControlError, match=r"there is no preshared key"):
            reload(west, IPSEC_CONF, "")
        # The same in other lines, and another connection, which comes up; the peer has that too.
        assert reload(east, IPSEC_CONF + OTHER.replace("start", "add")) == "connections as before: 1; new: other"
        assert reload(west, f"# more\n{IPSEC_CONF}{OTHER}") == "connections as before: 1; new: other"
        wait_until(lambda: states(west) == {CONNECTION: "up", "other": "up"}, 30, "the new connection")
        # And without it again.
        write(west, IPSEC_CONF)
        os.kill(west.process.pid, signal.SIGHUP)
        wait_until(lambda: "reload: connections as before: 1; gone: other" in west.log.read_text(), 30, "its end")
        assert states(west) == {CONNECTION: "up"}
        pings.await_replies(20)
    assert pings.lost == []
    assert (before[0], before[1] - serials(west)[1]) == (serials(west)[0], set())
    # One that is otherwise is taken down, on both sides, and made anew.
    text = reload(west, IPSEC_CONF.replace("clones=2", "clones=no").replace("auto=add", "auto=start"))
    assert text == f"connections as before: 0; changed: {CONNECTION}"
    wait_until(lambda: ping(west.namespace, WESTNET, EASTNET, patience=1), 30, "the tunnel")
    wait_until(lambda: list(west.traffic()) == [CONNECTION], 30, "one SA without clones")
    assert not serials(west)[0] & before[0]
    wait_until(lambda: len(east.ike_sas()) == 1, 30, "one IKE SA")
    assert reload(west, "config setup\n\tuniqueids=no\n") == f"connections as before: 0; gone: {CONNECTION}"
    assert (west.status().connections, serials(west)) == ([], (set(), set()))
    wait_until(lambda: not east.ike_sas(), 30, "no IKE SA")
    assert "Traceback" not in west.log.read_text() + east.log.read_text()


def test_a_peer_that_does_not_answer_is_not_waited_for(pair: tuple[DaemonProcess, DaemonProcess]) -> None:
    west, east = pair
    os.killpg(east.process.pid, signal.SIGSTOP)
    try:
        assert reload(west, "") == f"connections as before: 0; gone: {CONNECTION}"
    finally:
        os.killpg(east.process.pid, signal.SIGCONT)
    assert serials(west) == (set(), set())
    assert "not every peer has answered that its connection is gone" in west.log.read_text()
    assert reload(west, IPSEC_CONF) == f"connections as before: 0; new: {CONNECTION}"
    west.call(Up(name=CONNECTION))
    assert ping(west.namespace, WESTNET, EASTNET)
