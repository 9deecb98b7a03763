"""West and east: two hosts with a network each behind them, and the daemons that join these."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ikeclone.demo.capture import Capture, unjoined
from ikeclone.demo.daemons import DaemonProcess
from ikeclone.demo.namespaces import Namespace

CONNECTION = "westnet-eastnet"
IPSEC_CONF = """\
conn westnet-eastnet
	rightid=@east
        leftid=@west
        left=192.1.2.45
        right=192.1.2.23
	rightsubnet=192.0.2.0/24
	leftsubnet=192.0.1.0/24
	authby=secret
        clones=2
        auto=add
"""
WEST, EAST = "192.1.2.45", "192.1.2.23"
WESTNET, EASTNET = "192.0.1.254", "192.0.2.254"
DEVICE = "eth1"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Both ends; `cpus` are those that send, two of them if the machine has as many."""

    west: DaemonProcess
    east: DaemonProcess
    cpus: tuple[int, ...]
    keylog: bool


@contextmanager
def hosts() -> Iterator[tuple[Namespace, Namespace]]:
    """West and east, with a cable between them and the address that each has in the network behind it."""
    with Namespace("west") as west, Namespace("east") as east:
        west.connect(east, DEVICE, f"{WEST}/24", f"{EAST}/24")
        for namespace, inner in ((west, WESTNET), (east, EASTNET)):
            namespace.ip(f"address add {inner}/32 dev lo")
            namespace.sysctl("net.ipv4.conf.all.rp_filter", 0)
        yield west, east


@contextmanager
def tunnel(pcap: Path | None = None, logs: Path | None = None) -> Iterator[Tunnel]:
    """Make both hosts, a cable between them, and daemons that are not yet started; all of it goes at the end.

    `pcap` is where to keep a capture of the cable. `logs` is a directory for the daemons' files and key logs;
    without it the files are temporary, and there are no key logs.
    """
    with ExitStack() as stack:
        files = logs.resolve() if logs else Path(stack.enter_context(TemporaryDirectory(prefix="ikeclone-demo-")))
        west, east = stack.enter_context(hosts())
        if pcap:
            unjoined(DEVICE, west, east)
            capture = Capture(west, DEVICE, pcap)
            stack.callback(capture.close)
        psk = f'@west @east : PSK "{secrets.token_urlsafe(24)}"\n'
        yield Tunnel(
            west=_daemon(west, files / "west", psk),
            east=_daemon(east, files / "east", psk),
            cpus=tuple(sorted(os.sched_getaffinity(0))[:2]),
            keylog=logs is not None,
        )


def _daemon(namespace: Namespace, directory: Path, psk: str) -> DaemonProcess:
    directory.mkdir(parents=True, exist_ok=True)
    return DaemonProcess(namespace, directory, IPSEC_CONF, psk)
