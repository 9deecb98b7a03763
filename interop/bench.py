"""TCP through ikeclone's tunnel and through strongSwan's ESP in user space, in turn on the same network.

`python -m interop.bench [--seconds N] [--rounds N]` prints the median of the rounds and the ratios. Needs root.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from ikeclone.control.models import Up
from ikeclone.demo.namespaces import Namespace, end
from ikeclone.demo.pings import ping
from ikeclone.demo.tunnel import CONNECTION, EASTNET, WESTNET, hosts, tunnel
from ikeclone.demo.waiting import wait_until
from interop.lab import EAST, WEST, cpus, debian_root, private_mounts, scratch
from interop.strongswan import StrongSwan

PORT = 5201


@dataclass(frozen=True, slots=True)
class Pair:
    """Two hosts with a tunnel between them."""

    west: Namespace
    east: Namespace


@contextmanager
def ikeclone() -> Iterator[Pair]:
    """A tunnel of two daemons of ours, with a clone on each of two CPUs."""
    with tunnel() as ours:
        for daemon in (ours.west, ours.east):
            daemon.start()
        ours.west.call(Up(name=CONNECTION))
        pair = Pair(ours.west.namespace, ours.east.namespace)
        for cpu in ours.cpus:
            ping(pair.west, WESTNET, EASTNET, cpus=(cpu,))
        wait_until(lambda: len(ours.west.traffic()) == 1 + len(ours.cpus), 5, "a clone per CPU")
        yield pair


@contextmanager
def strongswan(root: Path) -> Iterator[Pair]:
    """A tunnel of two strongSwans with the same algorithms."""
    with scratch(root), tempfile.TemporaryDirectory() as logs, hosts() as (west, east):
        peers = [
            StrongSwan(east, root, EAST, WEST, Path(logs)),
            StrongSwan(west, root, WEST, EAST, Path(logs)),
        ]
        for peer in peers:
            peer.start(child={"esp_proposals": "aes256gcm16-x25519"})
        peers[1].initiate()
        yield Pair(west, east)


def throughput(pair: Pair, seconds: int, senders: list[list[int]]) -> float:
    """Gbit/s of TCP from west to east, one stream for each list of CPUs that its sender is kept to (none: any)."""
    # Whatever the system prefers: a paced one (BBR) would measure its own clock.
    for host in (pair.west, pair.east):
        host.sysctl("net.ipv4.tcp_congestion_control", "reno")
    ports = [PORT + number for number in range(len(senders))]
    servers = [_server(pair.east, port) for port in ports]
    clients = [
        pair.west.start(
            *("iperf3", "-J", "-t", str(seconds), "-c", EASTNET, "-B", WESTNET, "-p", str(port)), cpus=pinned
        )
        for port, pinned in zip(ports, senders, strict=True)
    ]
    reports = [json.loads(client.communicate(timeout=seconds + 20)[0]) for client in clients]
    for server in servers:
        end(server)
    return float(sum(report["end"]["sum_received"]["bits_per_second"] for report in reports)) / 1e9


def _server(host: Namespace, port: int) -> subprocess.Popen[str]:
    """An iperf3 that listens."""
    server = host.start("iperf3", "-s", "-1", "--forceflush", "-B", EASTNET, "-p", str(port))
    assert server.stdout is not None
    for line in server.stdout:
        if "listening" in line:
            return server
    raise RuntimeError(f"iperf3 does not listen on port {port}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m interop.bench")
    parser.add_argument("--seconds", type=int, default=4, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    root = debian_root()
    private_mounts(root)
    each = [[cpu] for cpu in cpus()[:2]]
    found: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        with ikeclone() as pair:
            found.setdefault("ikeclone, 1 stream", []).append(throughput(pair, arguments.seconds, [[]]))
            found.setdefault(f"ikeclone, a stream on each of {len(each)} CPUs", []).append(
                throughput(pair, arguments.seconds, each)
            )
        with strongswan(root) as pair:
            found.setdefault("strongSwan kernel-libipsec, 1 stream", []).append(
                throughput(pair, arguments.seconds, [[]])
            )
    Console().print(table(found))
    return 0


def table(found: dict[str, list[float]]) -> Table:
    """Medians, and how many times the last row's each is."""
    base = median(list(found.values())[-1])
    view = Table("tunnel", "Gbit/s", "rounds", "ratio")
    for name, figures in found.items():
        rounds = " ".join(f"{figure:.2f}" for figure in figures)
        view.add_row(name, f"{median(figures):.2f}", rounds, f"{median(figures) / base:.1f}")
    return view


if __name__ == "__main__":
    sys.exit(main())
