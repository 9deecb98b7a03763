"""A daemon in a namespace, run and commanded as its user would do it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ikeclone.control.client import call
from ikeclone.control.models import (
    Clones,
    ClonesReport,
    Command,
    IkeSaRow,
    Report,
    Status,
    StatusReport,
    TrafficReport,
    TrafficRow,
    TrafficStatus,
)
from ikeclone.demo.namespaces import Namespace, end
from ikeclone.demo.waiting import wait_until
from ikeclone.errors import ControlError

# The command that comes with this Python's ikeclone, whatever PATH says.
IKECLONE = Path(sys.executable).with_name("ikeclone")


class DaemonProcess:
    """`ikeclone daemon` in one namespace, with its files in `directory`, which must exist.

    `socket` says where its control socket is, if that directory's path is too long for one (107 octets).
    Calls to it raise ControlError when it refuses or is not there.
    """

    def __init__(
        self, namespace: Namespace, directory: Path, conf: str, secrets: str, socket: Path | None = None
    ) -> None:
        self.namespace = namespace
        self.socket = socket or directory / "control.sock"
        self.log_level = "info"
        self.log = directory / "ikeclone.log"
        self.keys = directory / "keys"
        self._conf, self._secrets = directory / "ipsec.conf", directory / "ipsec.secrets"
        self._conf.write_text(conf)
        self.log.touch()
        self._secrets.touch(mode=0o600)
        self._secrets.write_text(secrets)

    def start(self, keylog: bool = False) -> None:
        """Start it and wait until it answers; raises RuntimeError if it ends instead."""
        self.launch(keylog)
        self.await_answer()

    def launch(self, keylog: bool = False) -> None:
        """Start it and do not wait for it."""
        command: list[str | Path] = [IKECLONE, "daemon", "--config", self._conf, "--secrets", self._secrets]
        command += ["--socket", self.socket, "--backend", "esp", "--log-level", self.log_level]
        if keylog:
            self.keys.mkdir(exist_ok=True)
            command += ["--keylog", self.keys]
        with self.log.open("a") as log:
            self.process = self.namespace.start(*command, stdout=log)

    def await_answer(self) -> None:
        """Wait until it answers; raises RuntimeError if it ends instead."""
        wait_until(self._answers, 60, f"{self.namespace.name}: an answer of the daemon")

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        return end(self.process, grace=15)

    def command(self, *words: str, check: bool = True) -> str:
        """Run `ikeclone WORDS` and return its output; raises CalledProcessError if it fails and `check`."""
        return self.namespace.run(IKECLONE, "--socket", self.socket, *words, check=check, timeout=90)

    def call(self, command: Command) -> Report:
        """Do the same without a process of its own, which is quicker."""
        return call(self.socket, command, lambda _: None)

    def status(self) -> StatusReport:
        report = self.call(Status())
        assert isinstance(report, StatusReport)
        return report

    def ike_sas(self) -> list[IkeSaRow]:
        return self.status().ike_sas

    def clones(self, connection: str) -> ClonesReport:
        report = self.call(Clones(name=connection))
        assert isinstance(report, ClonesReport)
        return report

    def traffic(self) -> dict[str, TrafficRow]:
        """What each Child SA carried, by the name of the instance."""
        report = self.call(TrafficStatus())
        assert isinstance(report, TrafficReport)
        return {row.name: row for row in report.rows}

    def settled(self, connection: str) -> bool:
        """Whether no Child SA is being negotiated, and each CPU has one that sends, its own or the fallback.

        A CPU may have more, if both sides opened one at once: those only receive.
        """
        rows = self.clones(connection).rows
        sending = {row.cpu for row in rows if row.state in ("installed", "fallback")}
        return sending == {row.cpu for row in rows} and all(row.state != "negotiating" for row in rows)

    def last_words(self, lines: int = 20) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            code = self.process.returncode
            raise RuntimeError(f"{self.namespace.name}'s daemon ended with exit code {code}; its log says why")
        try:
            self.status()
        except ControlError:
            return False
        return True


def start_together(*daemons: DaemonProcess, keylog: bool = False) -> None:
    """Start several at once and wait until all answer; raises RuntimeError if one ends instead."""
    for daemon in daemons:
        daemon.launch(keylog)
    for daemon in daemons:
        daemon.await_answer()


def failure(error: Exception) -> str:
    """What an exception of a command or a call says to a person, with the command's own output."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"{' '.join(error.cmd)}: exit code {error.returncode}\n{error.output}".strip()
    return f"{type(error).__name__}: {error}"
