"""The two networks of a scenario: west with ikeclone, east with strongSwan, a cable between them."""

from __future__ import annotations

import ctypes
import fcntl
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from ikeclone.demo.capture import Capture, unjoined
from ikeclone.demo.daemons import DaemonProcess
from ikeclone.demo.pings import RunningPing, ping
from ikeclone.demo.tunnel import DEVICE, hosts
from ikeclone.demo.waiting import wait_until
from interop.authority import Papers
from interop.judge import Verdict, judge
from interop.strongswan import StrongSwan
from interop.swanctl import SECRET, End

BUILD = Path(__file__).with_name("build")
CLONE_NEWNS = 0x20000
WEST = End("west", "192.1.2.45", "192.0.1.254", "192.0.1.0/24")
EAST = End("east", "192.1.2.23", "192.0.2.254", "192.0.2.0/24")
# The same in IPv6.
WEST6 = End("west", "2001:db8:1::45", "2001:db8:a::1", "2001:db8:a::/64")
EAST6 = End("east", "2001:db8:1::23", "2001:db8:b::1", "2001:db8:b::/64")
IPSEC_CONF = {
    "left": WEST.address,
    "leftid": "@west",
    "leftsubnet": WEST.net,
    "right": EAST.address,
    "rightid": "@east",
    "rightsubnet": EAST.net,
    "authby": "secret",
    "auto": "add",
}


def debian_root() -> Path:
    """The root with the peers, made now if it is not there; no other build removes it while this process lives.

    Raises CalledProcessError if it cannot be made.
    """
    while True:
        made = subprocess.run([BUILD], stdout=subprocess.PIPE, text=True, check=True)
        root = Path(made.stdout.strip())
        with suppress(FileNotFoundError):
            fcntl.flock(os.open(root, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_SH)
        if root.is_dir():
            return root


def private_mounts(root: Path) -> None:
    """Give this process mounts of its own, and the Debian root what a running system has; it ends with us.

    Raises OSError or CalledProcessError without the right to do so.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "no mounts of our own: root is needed")
    _mount("--make-rprivate", "/")
    for shared in ("proc", "sys", "dev"):
        _mount("--rbind", f"/{shared}", root / shared)


@contextmanager
def scratch(root: Path) -> Iterator[None]:
    """Give the Debian root an empty /run and /tmp for a while."""
    with ExitStack() as stack:
        for name in ("run", "tmp"):
            _mount("-t", "tmpfs", name, root / name)
            stack.callback(subprocess.run, ["umount", "--lazy", str(root / name)], check=True)
        yield


class Lab:
    """Both networks, connected, with strongSwan and ikeclone ready to be started. A context manager.

    All files of the scenario, logs and capture and keys included, are in `logs`.
    """

    def __init__(self, root: Path, logs: Path) -> None:
        self._root, self.logs = root, logs
        self._stack = ExitStack()
        self._daemon: DaemonProcess | None = None

    def __enter__(self) -> Lab:
        sockets = self._stack.enter_context(TemporaryDirectory(prefix="ikeclone-"))
        self._socket = Path(sockets) / "control.sock"
        self._stack.enter_context(scratch(self._root))
        self.west, self.east = self._stack.enter_context(hosts())
        self.strongswan = StrongSwan(self.east, self._root, EAST, WEST, self.logs)
        unjoined(DEVICE, self.west, self.east)
        self._capture = Capture(self.west, DEVICE, self.logs / "cable.pcap")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._daemon:
            self._daemon.stop()
        self._capture.close()
        self.collect()
        self._stack.close()

    def collect(self) -> None:
        """Keep what the peer has logged so far."""
        self.strongswan.collect()

    @property
    def ikeclone(self) -> DaemonProcess:
        """Our daemon; only after `start_ikeclone`."""
        if self._daemon is None:
            raise RuntimeError("the scenario has not started ikeclone")
        return self._daemon

    def start_ikeclone(
        self,
        settings: Mapping[str, str] | None = None,
        secret: str = SECRET,
        papers: Papers | None = None,
        ppk: tuple[str, str] | None = None,
        users: Mapping[str, str] | None = None,
        others: Mapping[str, Mapping[str, str]] | None = None,
        setup: Mapping[str, str] | None = None,
        lines: Iterable[str] = (),
    ) -> None:
        """Start our daemon, anew if it runs, with the connection `gw` and more `settings` in ipsec.conf.

        `papers` are there for leftcert=own.pem; `ppk` is the name and text of a postquantum preshared key; `users` have
        passwords. The `others` are connections that say what `gw` does but for these settings; `setup` is for all.
        There are more `lines` of secrets.
        """
        if self._daemon:
            self._daemon.stop()
        conf = section("config setup", setup or {}) + section("conn gw", IPSEC_CONF | dict(settings or {}))
        for name, more in (others or {}).items():
            conf += section(f"conn {name}", {"also": "gw", **more})
        secrets = "".join(f"{line}\n" for line in (f'@west @east : PSK "{secret}"', *lines))
        if ppk:
            secrets += ': PPKS "{}" "{}"\n'.format(*ppk)
        secrets += "".join(f'{user} : EAP "{password}"\n' for user, password in (users or {}).items())
        if papers:
            secrets += ": PKCS8 own.key\n"
            _file(papers, self.logs)
        self._daemon = DaemonProcess(self.west, self.logs, conf, secrets, self._socket)
        self._daemon.start(keylog=True)

    def up(self) -> str:
        """Have ikeclone bring the connection up; raises CalledProcessError if that fails."""
        return self.ikeclone.command("up", "gw")

    def fail_to_come_up(self) -> str:
        """What `ikeclone up` says when it fails; raises AssertionError when it does not."""
        try:
            self.up()
        except subprocess.CalledProcessError as error:
            return str(error.output)
        raise AssertionError("ikeclone up: succeeded")

    def expect_nothing(self) -> None:
        """Wait until neither side has an SA; raises TimeoutError."""
        self.wait(lambda: not self.ikeclone.ike_sas(), "ikeclone without an IKE SA")
        self.wait(lambda: not self.ikeclone.traffic(), "ikeclone without a Child SA")
        self.wait(lambda: not self.strongswan.ike_sas(), "strongSwan without an IKE SA")

    def ping(self, count: int = 2, cpu: int | None = None, patience: int = 5) -> int:
        """Ping east's network from west's, from one CPU if named; returns how many replies came."""
        pinned = () if cpu is None else (cpu,)
        return len(ping(self.west, WEST.inner, EAST.inner, count, pinned, patience))

    def ping_between(self, west: str, east: str) -> list[int]:
        """How many replies come to two pings each way between addresses of both sides, to west's pings first."""
        return [len(ping(self.west, west, east, 2)), len(ping(self.east, east, west, 2))]

    def ping_back(self, count: int = 2) -> int:
        """Ping west's network from east's; returns how many replies came."""
        return len(ping(self.east, EAST.inner, WEST.inner, count))

    def pinging(self) -> RunningPing:
        """A ping from west to east that goes on meanwhile."""
        return RunningPing(self.west, WEST.inner, EAST.inner)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 30.0) -> float:
        """Wait until the condition holds, return how long it took; raises TimeoutError about `what`."""
        return wait_until(condition, seconds, what)

    @property
    def capture(self) -> Path:
        """What went over the cable so far."""
        return self._capture.file

    def judge(self) -> Verdict:
        """Let tshark look at what went over the cable so far; raises UnsoundError."""
        return judge(self._capture.file, self.ikeclone.keys)


def section(title: str, settings: Mapping[str, str]) -> str:
    """A section of ipsec.conf."""
    return "\n".join([title, *(f"    {key}={value}" for key, value in settings.items()), ""])


def _file(papers: Papers, directory: Path) -> None:
    """Put certificates and the key beside ipsec.conf."""
    trusted = directory / "ipsec.d" / "cacerts"
    trusted.mkdir(parents=True, exist_ok=True)
    (trusted / "root.pem").write_bytes(papers.root)
    (directory / "own.pem").write_bytes(papers.certificate + papers.middle)
    (directory / "own.key").touch(mode=0o600)
    (directory / "own.key").write_bytes(papers.key)


def expect(what: str, found: object, wanted: object) -> None:
    """Raise AssertionError unless both are equal."""
    if found != wanted:
        raise AssertionError(f"{what}: {found!r}, not {wanted!r}")


def expect_in(what: str, found: str, wanted: str) -> None:
    """Raise AssertionError unless the text `wanted` occurs."""
    if wanted not in found:
        raise AssertionError(f"{what}: no {wanted!r} in:\n{found}")


def cpus() -> list[int]:
    """The CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0))


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True)
