"""The command line, against a daemon in small that answers from a thread."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from ikeclone import __version__
from ikeclone.cli.main import app
from ikeclone.control.models import (
    Clones,
    ClonesReport,
    Command,
    Doctor,
    DoctorReport,
    Done,
    Down,
    Finding,
    Redirect,
    Rekey,
    Reload,
    Report,
    Status,
    StatusReport,
    Stop,
    TrafficReport,
    TrafficRow,
    TrafficStatus,
    Up,
)
from ikeclone.control.server import ControlServer
from ikeclone.errors import ControlError, LocalError
from ikeclone.options import DaemonOptions

TRAFFIC = TrafficReport(
    rows=[
        TrafficRow(
            serial=2,
            name="west-0",
            connection="west",
            instance=0,
            add_time=1234567890,
            in_bytes=1,
            out_bytes=2,
            in_packets=1,
            out_packets=1,
            id="@east",
        )
    ]
)
GATEWAY = ip_address("192.0.2.7")
LINE = "006 #2: \"west-0\", type=ESP, add_time=1234567890, inBytes=1, outBytes=2, id='@east'\n"
CLONES = ClonesReport(connection="west", limit=2, rows=[])
STATUS = StatusReport(version="9", uptime=1, backend="memory", data_plane={}, connections=[], ike_sas=[], counters={})


HEALTHY = DoctorReport(findings=[Finding(subject="kernel", verdict="good", text="Linux 9")])


@dataclass
class Daemon:
    """Answers every command with a report of its kind and keeps the commands."""

    socket: Path
    commands: list[Command] = field(default_factory=list)
    diagnosis: DoctorReport = HEALTHY

    async def handle(self, command: Command, progress: Callable[[str], None]) -> Report:
        self.commands.append(command)
        match command:
            case Up(name="west"):
                progress("initiating")
                return Done(text="west is up")
            case Up(name=name):
                raise ControlError(f"no connection is named {name}")
            case TrafficStatus():
                return TRAFFIC
            case Clones():
                return CLONES
            case Status():
                return STATUS
            case Doctor():
                return self.diagnosis
            case _:
                return Done()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "ctl")
    loop = asyncio.new_event_loop()
    server = ControlServer(daemon.socket, daemon.handle)
    loop.run_until_complete(server.start())
    thread = Thread(target=loop.run_forever)
    thread.start()
    yield daemon
    asyncio.run_coroutine_threadsafe(server.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def run(*arguments: str | Path, socket: Path | None = None) -> Result:
    env = {"IKECLONE_SOCKET": str(socket) if socket else None}
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)


@pytest.mark.parametrize(
    ("line", "command", "output"),
    [
        ("up west", Up(name="west"), "initiating\nwest is up\n"),
        ("up west --ike", Up(name="west", ike=True), "initiating\nwest is up\n"),
        ("down west", Down(name="west"), ""),
        ("rekey west", Rekey(name="west"), ""),
        ("rekey west --ike", Rekey(name="west", ike=True), ""),
        ("reload", Reload(), ""),
        ("redirect west --redirect-to 192.0.2.7", Redirect(name="west", to=GATEWAY), ""),
        ("stop", Stop(), ""),
        ("trafficstatus", TrafficStatus(), LINE),
        ("trafficstatus west", TrafficStatus(name="west"), LINE),
        ("clones west", Clones(name="west"), None),
        ("status", Status(), None),
        ("auto --up west", Up(name="west"), "initiating\nwest is up\n"),
        ("auto --down west", Down(name="west"), ""),
        ("whack --trafficstatus", TrafficStatus(), LINE),
        ("whack --trafficstatus --name west", TrafficStatus(name="west"), LINE),
        ("whack --status", Status(), None),
        ("whack --initiate --name west", Up(name="west"), "initiating\nwest is up\n"),
        ("whack --terminate --name west", Down(name="west"), ""),
        ("whack --name west --redirect-to 192.0.2.7", Redirect(name="west", to=GATEWAY), ""),
    ],
)
def test_commands(daemon: Daemon, line: str, command: Command, output: str | None) -> None:
    result = run(*line.split(), socket=daemon.socket)
    assert (result.exit_code, result.stderr) == (0, "")
    assert daemon.commands == [command]
    if output is not None:
        assert result.stdout == output


def test_tables(daemon: Daemon) -> None:
    assert "at most 2 clones" in run("clones", "west", socket=daemon.socket).stdout
    assert "ikeclone 9, up 1s, data plane memory" in run("status", socket=daemon.socket).stdout


@pytest.mark.parametrize(
    ("line", "report"),
    [
        ("trafficstatus --json", TRAFFIC),
        ("whack --trafficstatus --json", TRAFFIC),
        ("clones west --json", CLONES),
        ("status --json", STATUS),
    ],
)
def test_json(daemon: Daemon, line: str, report: TrafficReport) -> None:
    assert json.loads(run(*line.split(), socket=daemon.socket).stdout) == report.model_dump(mode="json")


def test_the_option_goes_before_the_environment(daemon: Daemon, tmp_path: Path) -> None:
    assert run("--socket", daemon.socket, "stop", socket=tmp_path / "other").exit_code == 0
    assert run("stop", socket=tmp_path / "other").exit_code == 1


def test_a_failed_command(daemon: Daemon) -> None:
    result = run("up", "north", socket=daemon.socket)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "ikeclone: no connection is named north\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("fly", "No such command 'fly'"),
        ("up", "Missing argument 'NAME'"),
        ("up west --now", "No such option: --now"),
        ("auto", "give one of --up NAME and --down NAME"),
        ("auto --up a --down b", "give one of --up NAME and --down NAME"),
        ("whack", "give one of --trafficstatus, --status, --initiate, --terminate and --redirect-to"),
        (
            "whack --status --trafficstatus",
            "give one of --trafficstatus, --status, --initiate, --terminate and --redirect-to",
        ),
        ("whack --initiate", "give --name NAME"),
        ("daemon --backend warp", "'warp' is not one of 'auto', 'xfrm', 'esp', 'memory'"),
    ],
)
def test_usage(line: str, told: str) -> None:
    result = run(*line.split())
    assert result.exit_code == 2
    assert told in result.stderr


def test_version() -> None:
    assert run("--version").stdout == f"ikeclone {__version__}\n"


CONN = "conn a\n\tleft=192.1.2.45\n\tright=192.1.2.23\n\tauthby=secret\n"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "ipsec.conf"
    path.write_text(CONN)
    return path


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    path = tmp_path / "ipsec.secrets"
    path.touch(mode=0o600)
    return path


def test_check(conf: Path, secrets: Path) -> None:
    secrets.write_text(': PSK "x"\n')
    result = run("check", conf, "--secrets", secrets)
    assert (result.exit_code, result.stdout) == (0, f"{conf}: no mistakes, connections: a\n")
    assert json.loads(run("check", conf, "--json").stdout) == {"connections": ["a"], "errors": []}


def test_check_tells_every_mistake(conf: Path) -> None:
    conf.write_text(f"{CONN}\tclons=2\n\tpfs=x\n")
    result = run("check", conf)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"{conf}:5: conn a: unknown keyword 'clons' (did you mean 'clones'?)\n"
        f"{conf}:6: conn a: pfs=x: must be one of yes, no, true, false, on, off, 1, 0\n"
    )
    first = json.loads(run("check", conf, "--json").stdout)["errors"][0]
    assert first == {
        "file": str(conf),
        "line": 5,
        "reason": "conn a: unknown keyword 'clons' (did you mean 'clones'?)",
    }


def test_check_tells_of_missing_keys(conf: Path, secrets: Path) -> None:
    result = run("check", conf, "--secrets", secrets)
    assert result.exit_code == 1
    assert result.stderr == (
        f"{conf}:1: conn a: there is no preshared key: "
        "put a line '192.1.2.45 192.1.2.23 : PSK \"...\"' into ipsec.secrets\n"
    )


def test_daemon_gets_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[DaemonOptions] = []

    def start(options: DaemonOptions) -> int:
        ran.append(options)
        return 0

    monkeypatch.setitem(sys.modules, "ikeclone.daemon", SimpleNamespace(run=start))
    assert run("daemon", socket=tmp_path / "ctl").exit_code == 0
    line = "daemon --config c --secrets s --socket k --backend memory --keylog l --log-level debug"
    assert run(*line.split()).exit_code == 0
    assert ran == [
        DaemonOptions(Path("/etc/ipsec.conf"), Path("/etc/ipsec.secrets"), tmp_path / "ctl"),
        DaemonOptions(Path("c"), Path("s"), Path("k"), "memory", Path("l"), "debug"),
    ]


def test_a_daemon_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(options: DaemonOptions) -> int:
        raise LocalError("port 500 is in use: stop the other IKE daemon first")

    monkeypatch.setitem(sys.modules, "ikeclone.daemon", SimpleNamespace(run=start))
    result = run("daemon")
    assert result.exit_code == 1
    assert result.stderr == "ikeclone: port 500 is in use: stop the other IKE daemon first\n"


def test_demo_gets_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Path | None, Path | None]] = []

    def main(*, pcap: Path | None = None, logs: Path | None = None) -> int:
        ran.append((pcap, logs))
        return 1

    monkeypatch.setitem(sys.modules, "ikeclone.demo.run", SimpleNamespace(main=main))
    assert run("demo", "--pcap", "p", "--keep-logs", "l").exit_code == 1
    assert ran == [(Path("p"), Path("l"))]


def test_as_a_process(tmp_path: Path) -> None:
    """The console script, and one sentence instead of a traceback."""
    command = [sys.executable, "-c", "from ikeclone.cli.main import run; run()", "status"]
    env = os.environ | {"IKECLONE_SOCKET": str(tmp_path / "none")}
    result = subprocess.run(command, capture_output=True, text=True, env=env, timeout=30, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"ikeclone: no daemon answers at {tmp_path}/none: start one with 'ikeclone daemon', "
        "or name its socket with --socket\n"
    )


def test_the_command_line_is_light() -> None:
    """Neither the kernel's nor the cryptographers' library is loaded for talking to a daemon."""
    heavy = "{'pyroute2', 'cryptography', 'numpy', 'asyncio_dgram'}"
    code = f"import sys, ikeclone.cli.main; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout == "[]\n"


class TestDoctor:
    def test_a_daemon_that_runs_answers(self, daemon: Daemon) -> None:
        result = run("doctor", socket=daemon.socket)
        assert (result.exit_code, daemon.commands) == (0, [Doctor()])
        assert result.output.split() == ["what", "verdict", "found", "advice", "kernel", "good", "Linux", "9"]

    def test_what_prevents_work_is_an_exit_code(self, daemon: Daemon) -> None:
        bad = Finding(subject="data plane", verdict="bad", text="none works here", advice="see above")
        daemon.diagnosis = DoctorReport(findings=[bad])
        result = run("doctor", "--json", socket=daemon.socket)
        assert result.exit_code == 1
        assert DoctorReport.model_validate_json(result.output) == daemon.diagnosis

    def test_without_a_daemon_the_command_looks_for_itself(self, tmp_path: Path) -> None:
        result = run("doctor", "--json", socket=tmp_path / "none")
        report = DoctorReport.model_validate_json(result.output)
        subjects = [finding.subject for finding in report.findings]
        assert subjects[:2] == ["kernel", "CPUs"]
        assert {"data plane xfrm", "data plane esp", "ESP in UDP"} <= set(subjects)
        nothing_works = any(finding.verdict == "bad" for finding in report.findings)
        assert result.exit_code == int(nothing_works)


def test_the_list_of_commands_cuts_no_sentence() -> None:
    listed = CliRunner().invoke(app, ["--help"], terminal_width=80).stdout.partition("Commands:")[2]
    assert len(listed.split("\n")) > 12
    assert "..." not in listed
