"""Network namespaces without names, and the processes in them: nothing outlives whoever made them."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import IO

CLONE_NEWNET = 0x40000000
# Whoever is asked to end with its parent may be too late: it goes on only as a child of process $1.
UNLESS_ORPHANED = '[ "$PPID" = "$1" ] && shift && exec "$@"'


class Namespace:
    """A network namespace that only a file descriptor holds: it goes with this object, or with this process.

    Commands run in it through util-linux: `nsenter` enters, `setpriv` ends them with this process, `taskset`
    pins them. Use it as a context manager. Making one needs CAP_SYS_ADMIN; raises OSError without it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        # unshare(2) moves the calling thread only: one that ends afterwards, so that nobody has to move back.
        with ThreadPoolExecutor(1) as pool:
            self._fd = pool.submit(_unshare).result()
        self._processes: list[subprocess.Popen[str]] = []
        self.ip("link set lo up")

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The namespace as a file, for `nsenter --net=` and for pyroute2, while it is open."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def start(
        self,
        *command: str | os.PathLike[str],
        cpus: Iterable[int] = (),
        stdout: int | IO[str] | None = subprocess.PIPE,
        stderr: int | IO[str] | None = subprocess.STDOUT,
    ) -> subprocess.Popen[str]:
        """Start a command in here, on these CPUs only if any are named, and leave it running.

        It is in a session of its own: Ctrl-C reaches the caller, who ends it, at the latest by `close`.
        """
        enter = ["nsenter", f"--net={self.path}", "setpriv", "--pdeathsig", "TERM"]
        enter += ["sh", "-c", UNLESS_ORPHANED, "sh", str(os.getpid())]
        pin = ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []
        process = subprocess.Popen(
            [*enter, *pin, *command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def run(
        self,
        *command: str | os.PathLike[str],
        cpus: Iterable[int] = (),
        check: bool = True,
        timeout: float = 60.0,
    ) -> str:
        """Run a command to its end and return what it printed.

        Raises CalledProcessError (its `output` is what it printed) when `check` and it fails, TimeoutExpired
        after `timeout` seconds.
        """
        process = self.start(*command, cpus=cpus)
        try:
            output, _ = process.communicate(timeout=timeout)
        finally:
            end(process)
            self._processes.remove(process)
        if check and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, list(map(str, command)), output)
        return output

    def ip(self, arguments: str) -> str:
        """Run `ip ARGUMENTS`; raises CalledProcessError when it refuses."""
        return self.run("ip", *arguments.split())

    def sysctl(self, name: str, value: object) -> None:
        """Set a setting of this namespace, named as sysctl(8) does: `net.ipv4.ip_forward`."""
        self.run("sh", "-c", 'echo "$1" > "/proc/sys/$2"', "sh", str(value), name.replace(".", "/"))

    def connect(self, other: Namespace, device: str, address: str, other_address: str) -> None:
        """Lay a veth cable to another namespace: the same device name at both ends, and addresses/length."""
        self.ip(f"link add {device} type veth peer name {device} netns {other.path}")
        for end_of_cable, its_address in ((self, address), (other, other_address)):
            end_of_cable.ip(f"address add {its_address} dev {device}")
            end_of_cable.ip(f"link set {device} up")

    def close(self) -> None:
        """End every process that was started in here, and let the namespace go."""
        for process in self._processes:
            end(process)
        self._processes.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def end(process: subprocess.Popen[str], grace: float = 5.0) -> int:
    """Ask a process to end, insist after `grace` seconds, return its code. A finished one is no error."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
    if process.stdout is not None:
        process.stdout.close()
    return process.wait()


def _unshare() -> int:
    """Move the calling thread into a new network namespace and return an open file of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"no new network namespace: {os.strerror(code)}")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
