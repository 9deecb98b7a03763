"""Two hosts in the guest, with a cable between them and kernel IPsec on both."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from ikeclone.demo.capture import Capture
from ikeclone.demo.daemons import IKECLONE, DaemonProcess
from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.pings import RunningPing, ping
from ikeclone.demo.tunnel import DEVICE, hosts
from ikeclone.demo.waiting import wait_until
from interop.kernel.cpus import CPUS as CPUS
from interop.kernel.cpus import seeing
from interop.kernel.libreswan import Libreswan
from interop.kernel.strongswan import KernelStrongSwan
from interop.lab import EAST, IPSEC_CONF, WEST, scratch, section
from interop.swanctl import SECRET, End

CONNECTION_NAME = "gw"


class KernelDaemon(DaemonProcess):
    """`ikeclone daemon --backend xfrm`, to which these CPUs of the guest are online."""

    cpus: Collection[int] = CPUS

    def start(self, keylog: bool = False) -> None:
        """Start it and wait until it answers; raises RuntimeError if it ends instead."""
        command: list[str | Path] = [
            *seeing(self.cpus),
            IKECLONE,
            "daemon",
            "--config",
            self._conf,
            "--secrets",
            self._secrets,
        ]
        command += ["--socket", self.socket, "--backend", "xfrm"]
        with self.log.open("a") as log:
            self.process = self.namespace.start(*command, stdout=log)
        wait_until(self._answers, 60, f"{self.namespace.name}: an answer of the daemon")


class PinnedPing(RunningPing):
    """A ping from west to east that goes on meanwhile, on one CPU."""

    def __init__(self, west: Namespace, cpu: int, interval: float = 0.05) -> None:
        super().__init__(west, WEST.inner, EAST.inner, interval)
        self._command = ["taskset", "--cpu-list", str(cpu), *self._command]


class KernelLab:
    """Both hosts, connected. A context manager; all files of the scenario are in `logs`."""

    def __init__(self, root: Path, logs: Path) -> None:
        self._root, self.logs = root, logs
        self._stack = ExitStack()
        self._daemons: list[KernelDaemon] = []
        self._peers: list[KernelStrongSwan | Libreswan] = []

    def __enter__(self) -> KernelLab:
        self._sockets = Path(self._stack.enter_context(TemporaryDirectory(prefix="ikeclone-")))
        self._stack.enter_context(scratch(self._root))
        self.west, self.east = self._stack.enter_context(hosts())
        self._capture = Capture(self.west, DEVICE, self.logs / "cable.pcap")
        for side in (self.west, self.east):
            log = self._stack.enter_context((self.logs / f"{side.name}.monitor").open("w"))
            side.start("ip", "-timestamp", "xfrm", "monitor", "SA", "acquire", "expire", stdout=log)
        # strongSwan leaves the routes to the system.
        self.west.ip(f"route add {EAST.net} via {EAST.address} src {WEST.inner}")
        self.east.ip(f"route add {WEST.net} via {WEST.address} src {EAST.inner}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for side in (self.west, self.east):
            (self.logs / f"{side.name}.kernel").write_text(self.kernel(side))
        for daemon in self._daemons:
            daemon.stop()
        self.collect()
        self._capture.close()
        self._stack.close()

    def collect(self) -> None:
        """Keep what the peers have logged so far."""
        for peer in self._peers:
            peer.collect()

    def ikeclone(
        self,
        end: End = WEST,
        settings: Mapping[str, str | None] | None = None,
        setup: str = "",
        cpus: Collection[int] = CPUS,
        others: Mapping[str, Mapping[str, str]] | None = None,
    ) -> KernelDaemon:
        """Start our daemon on one side, with the connection `gw`; `settings` add to it, or with None leave one out.

        `setup` is a line of `config setup`. Only `cpus` are online to it. The `others` are connections that say what
        `gw` does but for these settings.
        """
        side = self.side(end)
        directory = self.logs / side.name
        directory.mkdir(exist_ok=True)
        wanted = {**IPSEC_CONF, **(settings or {})}
        lines = [f"    {key}={value}" for key, value in wanted.items() if value is not None]
        conf = "\n".join(["config setup", f"    {setup}", "conn gw", *lines, ""])
        conf += "".join(section(f"conn {name}", {"also": "gw", **more}) for name, more in (others or {}).items())
        secrets = f'@west @east : PSK "{SECRET}"\n'
        daemon = KernelDaemon(side, directory, conf, secrets, self._sockets / f"{side.name}.sock")
        daemon.cpus = cpus
        self._daemons.append(daemon)
        daemon.start()
        return daemon

    def strongswan(
        self,
        end: End = EAST,
        connection: Mapping[str, str] | None = None,
        cpus: Collection[int] = CPUS,
        **child: str,
    ) -> KernelStrongSwan:
        """Start strongSwan on one side, with these settings of its connection and its child, and these CPUs online."""
        other = WEST if end is EAST else EAST
        peer = KernelStrongSwan(self.side(end), self._root, end, other, self.logs)
        self._peers.append(peer)
        peer.begin(child, connection or {}, cpus)
        return peer

    def libreswan(self, end: End = EAST, **settings: str | None) -> Libreswan:
        """Start Libreswan on one side, with these settings of its connection; None leaves a usual one out."""
        other = WEST if end is EAST else EAST
        peer = Libreswan(self.side(end), self._root, end, other, self.logs)
        self._peers.append(peer)
        peer.begin(settings)
        return peer

    def side(self, end: End) -> Namespace:
        return self.west if end is WEST else self.east

    def delay(self, milliseconds: int) -> None:
        """Let every packet take so long, each way."""
        for side in (self.west, self.east):
            side.run("tc", "qdisc", "replace", "dev", DEVICE, "root", "netem", "delay", f"{milliseconds}ms")

    def ping(self, cpu: int, count: int = 1, patience: int = 3) -> int:
        """Ping east's network from one CPU of west's; how many replies came."""
        return len(ping(self.west, WEST.inner, EAST.inner, count, (cpu,), patience))

    def leftovers(self, side: Namespace) -> str:
        """States, policies of no socket, rules and routes of ours in a host's kernel."""
        policies = side.ip("xfrm policy list nosock")
        return side.ip("xfrm state") + policies + _only(side.ip("rule"), "9611")

    def kernel(self, side: Namespace) -> str:
        """All that a host's kernel has of IPsec, without keys."""
        statistics = side.run("awk", "$2", "/proc/net/xfrm_stat")
        return "\n".join((side.ip("-s xfrm state list nokeys"), side.ip("xfrm policy list nosock"), statistics))

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 30.0) -> float:
        """Wait until the condition holds, return how long it took; raises TimeoutError about `what`."""
        return wait_until(condition, seconds, what)


def clones(daemon: DaemonProcess) -> list[int]:
    """The CPUs of a daemon's clones, in order; one occurs as often as it has clones."""
    return sorted(row.cpu for row in daemon.traffic().values() if row.cpu is not None)


def up(daemon: DaemonProcess) -> None:
    """Bring the connection up; raises CalledProcessError if that fails."""
    try:
        daemon.command("up", CONNECTION_NAME)
    except subprocess.CalledProcessError as error:
        raise AssertionError(error.output) from error


def _only(text: str, wanted: str) -> str:
    return "".join(line + "\n" for line in text.splitlines() if wanted in line)
