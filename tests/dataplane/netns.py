"""Network namespaces for tests: anonymous, each kept by a thread, gone when it ends."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import subprocess
import threading
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Namespace:
    """A network namespace with an event loop whose sockets, devices and children live in it.

    `path` is an existing one's, as /run/netns/NAME; without it a new one is made.
    """

    def __init__(self, path: str | None = None) -> None:
        started = threading.Event()
        self._path = path
        self._error: OSError | None = None
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()
        if self._error is not None:
            raise self._error

    def _run(self, started: threading.Event) -> None:
        try:
            self._enter()
        except OSError as error:
            self._error = error
            return
        finally:
            started.set()
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()

    def _enter(self) -> None:
        if self._path is None:
            _check(_libc.unshare(_CLONE_NEWNET))
        else:
            fd = os.open(self._path, os.O_RDONLY)
            try:
                _check(_libc.setns(fd, _CLONE_NEWNET))
            finally:
                os.close(fd)
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.pid = threading.get_native_id()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout: float = 60.0) -> T:
        """Run a coroutine in the namespace and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a command in the namespace."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.fd}", *arguments]

    def run(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run a command in the namespace; returns what it printed. Raises CalledProcessError when it fails."""
        done = subprocess.run(self.command(*arguments), check=True, capture_output=True, text=True, timeout=timeout)
        return done.stdout

    def ip(self, *commands: str) -> None:
        """Have one process do what several commands of ip(8) say; raises CalledProcessError when it refuses one."""
        batch = "\n".join(commands)
        subprocess.run(self.command("ip", "-batch", "-"), input=batch, check=True, capture_output=True, text=True)

    def close(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        with suppress(OSError):
            os.close(self.fd)


def connect(left: Namespace, right: Namespace, addresses: list[tuple[str, str]], mtu: int = 1500) -> None:
    """Join two namespaces by a pair of virtual Ethernet devices with these addresses, left and right."""
    cable = f"link add eth0 mtu {mtu} type veth peer name eth1 mtu {mtu}", f"link set eth1 netns {right.pid}"
    left.ip(*cable, *_set_up(pair[0] for pair in addresses))
    right.ip("link set eth1 name eth0", *_set_up(pair[1] for pair in addresses))
    for namespace in (left, right):
        _wait_until_up(namespace)


def _set_up(addresses: Iterable[str]) -> list[str]:
    added = [f"address add {address} dev eth0{' nodad' if ':' in address else ''}" for address in addresses]
    return ["link set lo up", *added, "link set eth0 up"]


def _wait_until_up(namespace: Namespace) -> None:
    """The kernel notices a carrier in its own time, and changes routes then."""
    deadline = time.monotonic() + 30
    while json.loads(namespace.run("ip", "-j", "link", "show", "eth0"))[0]["operstate"] != "UP":
        if time.monotonic() > deadline:
            raise TimeoutError("the virtual Ethernet has no carrier")
        time.sleep(0.01)
