"""Real daemons in real namespaces: what a user, a peer or the system can get wrong, and what is said about it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from ikeclone.control.models import Clones, Down, Rekey, Up
from ikeclone.demo.daemons import IKECLONE, DaemonProcess, start_together
from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.pings import RunningPing, ping
from ikeclone.demo.tunnel import CONNECTION, EAST, EASTNET, IPSEC_CONF, WEST, WESTNET, hosts
from ikeclone.demo.waiting import wait_until
from ikeclone.errors import ControlError

pytestmark = pytest.mark.root

PSK = "a-secret-that-no-log-may-show"
SECRETS = f'@west @east : PSK "{PSK}"\n'
IMPATIENT = IPSEC_CONF + "        retransmit-timeout=2s\n        dpddelay=1s\n        session-resumption=yes\n"


@pytest.fixture
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    with hosts() as both:
        yield both


def daemon(namespace: Namespace, tmp_path: Path, conf: str = IPSEC_CONF, secrets: str = SECRETS) -> DaemonProcess:
    directory = tmp_path / namespace.name
    directory.mkdir()
    return DaemonProcess(namespace, directory, conf, secrets)


def run_to_its_end(process: DaemonProcess, *prefix: str, log_level: str = "info") -> str:
    """Start a daemon that cannot start: it says why and ends with exit code 1, and leaves no socket behind."""
    directory = process.log.parent
    files: list[str | Path] = ["--config", directory / "ipsec.conf", "--secrets", directory / "ipsec.secrets"]
    command = [*prefix, IKECLONE, "daemon", *files, "--socket", process.socket, "--backend", "esp"]
    with pytest.raises(subprocess.CalledProcessError) as failed:
        process.namespace.run(*command, "--log-level", log_level)
    assert failed.value.returncode == 1
    assert not process.socket.exists()
    output: str = failed.value.output
    assert "Traceback" not in output
    return output


@pytest.fixture
def pair(namespaces: tuple[Namespace, Namespace], tmp_path: Path) -> Iterator[tuple[DaemonProcess, DaemonProcess]]:
    """Two running daemons."""
    yield from running(namespaces, tmp_path, IPSEC_CONF)


@pytest.fixture
def impatient(namespaces: tuple[Namespace, Namespace], tmp_path: Path) -> Iterator[tuple[DaemonProcess, DaemonProcess]]:
    """Two running daemons that are quick to notice a dead peer: on a busy machine they may take a slow one for it."""
    yield from running(namespaces, tmp_path, IMPATIENT)


def running(
    namespaces: tuple[Namespace, Namespace], directory: Path, conf: str
) -> Iterator[tuple[DaemonProcess, DaemonProcess]]:
    west, east = (daemon(namespace, directory, conf) for namespace in namespaces)
    start_together(west, east)
    yield west, east
    for side in (west, east):
        side.stop()


class TestStart:
    def test_a_port_that_is_in_use(self, namespaces: tuple[Namespace, Namespace], tmp_path: Path) -> None:
        west, _ = namespaces
        # It holds the port until its standard input, a pipe that nobody writes to, is closed.
        holder = subprocess.Popen(
            ["nsenter", f"--net={west.path}", sys.executable, "-c", HOLD, WEST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "bound\n"
            output = run_to_its_end(daemon(west, tmp_path))
            holder.kill()
        assert f"UDP port 500 of {WEST} is in use: is another IKE daemon running?" in output

    def test_no_tun_device(self, namespaces: tuple[Namespace, Namespace], tmp_path: Path) -> None:
        hide = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
        output = run_to_its_end(daemon(namespaces[0], tmp_path), *hide)
        assert "/dev/net/tun" in output

    def test_no_privileges(self, namespaces: tuple[Namespace, Namespace], tmp_path: Path) -> None:
        output = run_to_its_end(daemon(namespaces[0], tmp_path), "setpriv", "--bounding-set=-all", "--inh-caps=-all")
        assert "root" in output or "CAP_NET_ADMIN" in output

    def test_an_unknown_keyword(self, namespaces: tuple[Namespace, Namespace], tmp_path: Path) -> None:
        output = run_to_its_end(daemon(namespaces[0], tmp_path, IPSEC_CONF + "        clone=2\n"))
        assert "ipsec.conf:11: conn westnet-eastnet: unknown keyword 'clone' (did you mean 'clones'?)" in output

    def test_a_missing_secret(self, namespaces: tuple[Namespace, Namespace], tmp_path: Path) -> None:
        output = run_to_its_end(daemon(namespaces[0], tmp_path, secrets='@west @north : PSK "other"\n'))
        assert "there is no preshared key" in output
        assert "other" not in output

    def test_a_second_daemon_on_the_same_socket(self, pair: tuple[DaemonProcess, DaemonProcess]) -> None:
        west, _ = pair
        files = west.log.parent
        options: list[str | Path] = [
            "--config",
            files / "ipsec.conf",
            "--secrets",
            files / "ipsec.secrets",
            "--socket",
            west.socket,
        ]
        output = west.namespace.run(IKECLONE, "daemon", *options, "--backend", "memory", check=False)
        assert "already in use by a running daemon" in output
        assert west.status().connections

    def test_a_connection_of_other_hosts_is_left_out(
        self, namespaces: tuple[Namespace, Namespace], tmp_path: Path
    ) -> None:
        far = IPSEC_CONF.replace(WEST, "192.1.2.99").replace("conn west", "conn far")
        ignored = "conn ignored\n\talso=westnet-eastnet\n\tauto=ignore\n"
        west = daemon(namespaces[0], tmp_path, IPSEC_CONF + far + ignored)
        west.start()
        assert [row.name for row in west.status().connections] == [CONNECTION]
        assert "neither of left=192.1.2.99" in west.last_words()
        with pytest.raises(ControlError, match=r"farnet-eastnet is left out: .*ipsec.conf:11: .*192.1.2.99"):
            west.call(Up(name="farnet-eastnet"))
        with pytest.raises(ControlError, match="ignored is left out: it has auto=ignore"):
            west.call(Up(name="ignored"))
        assert west.stop() == 0


class TestPeers:
    def test_a_wrong_secret_is_named_by_the_side_that_can_mend_it(
        self, namespaces: tuple[Namespace, Namespace], tmp_path: Path
    ) -> None:
        west = daemon(namespaces[0], tmp_path)
        east = daemon(namespaces[1], tmp_path, secrets=SECRETS.replace(PSK, "mistyped"))
        start_together(west, east)
        with pytest.raises(ControlError, match="AUTHENTICATION_FAILED"):
            west.call(Up(name=CONNECTION))
        wait_until(lambda: "do both sides have the same preshared key?" in east.last_words(), 30, "a hint in the log")
        assert [side.stop() for side in (west, east)] == [0, 0]
        for side in (west, east):
            assert PSK not in side.log.read_text()
            assert "mistyped" not in side.log.read_text()

    def test_a_peer_that_does_not_answer(self, namespaces: tuple[Namespace, Namespace], tmp_path: Path) -> None:
        west = daemon(namespaces[0], tmp_path, IMPATIENT)
        west.start()
        with pytest.raises(ControlError, match=f"no response from {EAST} to IKE_SA_INIT"):
            west.call(Up(name=CONNECTION))
        assert west.status().ike_sas == []
        assert west.stop() == 0

    def test_a_peer_that_vanishes_and_comes_back(self, impatient: tuple[DaemonProcess, DaemonProcess]) -> None:
        """It knows nothing of the tickets that it gave before."""
        west, east = impatient
        west.call(Up(name=CONNECTION))
        os.killpg(east.process.pid, signal.SIGKILL)
        east.process.wait()
        wait_until(lambda: not west.ike_sas(), 30, "the notice that the peer is dead")
        wait_until(lambda: "no response to INFORMATIONAL" in west.log.read_text(), 30, "what the log says of it")
        assert west.traffic() == {}
        east.start()
        wait_until(lambda: ping(west.namespace, WESTNET, EASTNET, patience=1), 30, "the tunnel")
        assert "not resumed: the peer does not take our ticket" in west.log.read_text()

    def test_noise_on_both_ports_changes_nothing(
        self, pair: tuple[DaemonProcess, DaemonProcess], tmp_path: Path
    ) -> None:
        west, east = pair
        noise = tmp_path / "noise"
        noise.write_text("".join(_noise(600)))
        west.call(Up(name=CONNECTION))
        with RunningPing(west.namespace, WESTNET, EASTNET) as pings:
            pings.await_replies(5)
            west.namespace.run(sys.executable, "-c", SHOUT, noise, EAST)
            pings.await_replies(20)
        assert pings.lost == []
        wait_until(lambda: sum(east.status().counters.values()) > 100, 30, "counts of noise")
        assert [row.state for row in east.status().connections] == ["up"]


class TestDataPlane:
    def test_a_dead_worker_is_replaced_and_its_sas_are_made_anew(
        self, pair: tuple[DaemonProcess, DaemonProcess]
    ) -> None:
        west, _ = pair
        west.call(Up(name=CONNECTION))
        assert ping(west.namespace, WESTNET, EASTNET, count=3)
        before = {row.serial for row in west.traffic().values()}
        for worker in _children(west.process.pid):
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: "lost" in west.log.read_text(), 30, "the notice that the workers are dead")
        wait_until(lambda: ping(west.namespace, WESTNET, EASTNET, patience=1), 30, "a tunnel of new workers")
        assert not before & {row.serial for row in west.traffic().values()}


class TestSecrecy:
    def test_no_key_is_in_any_log(self, namespaces: tuple[Namespace, Namespace], tmp_path: Path) -> None:
        west, east = (daemon(namespace, tmp_path) for namespace in namespaces)
        west.log_level = east.log_level = "debug"
        west.start(keylog=True)
        east.start()
        west.call(Up(name=CONNECTION))
        west.call(Rekey(name=CONNECTION))
        west.call(Rekey(name=CONNECTION, ike=True))
        west.call(Down(name=CONNECTION))
        for side in (west, east):
            side.stop()
        keys = _words((west.keys / "esp_sa").read_text() + (west.keys / "ikev2_decryption_table").read_text())
        assert len(keys) >= 8
        for side in (west, east):
            log = side.log.read_text()
            assert PSK not in log
            assert not any(key in log for key in keys)

    def test_files_that_hold_keys_are_for_their_owner_only(
        self, namespaces: tuple[Namespace, Namespace], tmp_path: Path
    ) -> None:
        west = daemon(namespaces[0], tmp_path)
        west.start(keylog=True)
        modes = {path.stat().st_mode & 0o777 for path in (*west.keys.iterdir(), west.socket)}
        west.stop()
        assert modes == {0o600}
        assert "KEY LOG" in west.log.read_text()


def test_commands_on_what_is_not_there(pair: tuple[DaemonProcess, DaemonProcess]) -> None:
    west, _ = pair
    with pytest.raises(ControlError, match=r"no connection nowhere \(there are: westnet-eastnet\)"):
        west.call(Up(name="nowhere"))
    with pytest.raises(ControlError, match="westnet-eastnet-1 is an instance of westnet-eastnet"):
        west.call(Down(name=f"{CONNECTION}-1"))
    with pytest.raises(ControlError, match="there is nothing to rekey"):
        west.call(Rekey(name=CONNECTION))
    assert west.call(Clones(name=CONNECTION)).report == "clones"


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _words(table: str) -> set[str]:
    """The keys in a table: its long hexadecimal fields."""
    fields = table.replace('"', "").replace("\n", ",").replace("0x", "").split(",")
    return {field for field in fields if len(field) >= 32 and set(field) <= set("0123456789abcdef")}


def _noise(count: int) -> Iterator[str]:
    """Random and mutilated messages as lines of port and hexadecimal octets."""
    noise = Random(1)
    for _ in range(count):
        data = noise.randbytes(noise.randrange(1, 300))
        if noise.random() < 0.5:
            data = data[:16] + bytes([33, 0x20, 34, 8]) + bytes(4) + len(data).to_bytes(4, "big") + data[28:]
        port = noise.choice((500, 4500))
        yield f"{port} {(bytes(4) + data if port == 4500 else data).hex()}\n"


SHOUT = """
import socket, sys
shouter = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for line in open(sys.argv[1]):
    port, data = line.split()
    shouter.sendto(bytes.fromhex(data), (sys.argv[2], int(port)))
"""
HOLD = """
import socket, sys
holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
holder.bind((sys.argv[1], 500))
print("bound", flush=True)
input()
"""
