"""TCP through ikeclone's tunnel and through strongSwan's ESP in user space, in turn on the same network.

`python -m interop.bench [--seconds N] [--rounds N]` prints the median of the rounds and the ratios. Needs root.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from ikeclone.control.models import Down, Up
from ikeclone.demo.namespaces import Namespace, end
from ikeclone.demo.pings import ping
from ikeclone.demo.tunnel import CONNECTION, EASTNET, WESTNET, Tunnel, hosts, tunnel
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
        # Who opens a clone first decides which of the peer's CPUs it gets; strongSwan's threads have both, too.
        wait_until(lambda: _open_clones(ours) or len(ours.cpus) == 1, 60, "clones from one CPU to the other")
        yield Pair(ours.west.namespace, ours.east.namespace)


def _open_clones(ours: Tunnel) -> bool:
    """Bring the tunnel up anew; whether what one CPU seals is opened by another."""
    ours.west.call(Down(name=CONNECTION))
    ours.west.call(Up(name=CONNECTION))
    for cpu in ours.cpus:
        ping(ours.west.namespace, WESTNET, EASTNET, cpus=(cpu,))
    ends = (ours.west, ours.east)
    wait_until(lambda: all(daemon.settled(CONNECTION) for daemon in ends), 5, "clones that send")
    theirs = {row.inbound_spi: row.cpu for row in ours.east.clones(CONNECTION).rows if row.cpu is not None}
    rows = ours.west.clones(CONNECTION).rows
    return all(theirs[row.outbound_spi] != row.cpu for row in rows if row.cpu is not None)


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


def throughput(pair: Pair, seconds: int, streams: list[tuple[int, int]]) -> float:
    """Gbit/s of TCP from west to east, a stream for each pair of a sender's CPU and a receiver's."""
    # Whatever the system prefers: a paced one (BBR) would measure its own clock.
    for host in (pair.west, pair.east):
        host.sysctl("net.ipv4.tcp_congestion_control", "reno")
    servers = [_server(pair.east, PORT + number, cpu) for number, (_, cpu) in enumerate(streams)]
    clients = [_client(pair.west, PORT + number, cpu, seconds) for number, (cpu, _) in enumerate(streams)]
    reports = [json.loads(client.communicate(timeout=seconds + 20)[0]) for client in clients]
    for server in servers:
        end(server)
    return float(sum(report["end"]["sum_received"]["bits_per_second"] for report in reports)) / 1e9


def _client(host: Namespace, port: int, cpu: int, seconds: int) -> subprocess.Popen[str]:
    command = ["iperf3", "-J", "-t", str(seconds), "-c", EASTNET, "-B", WESTNET, "-p", str(port)]
    return host.start(*command, cpus=(cpu,))


def _server(host: Namespace, port: int, cpu: int) -> subprocess.Popen[str]:
    """An iperf3 that listens."""
    server = host.start("iperf3", "-s", "-1", "--forceflush", "-B", EASTNET, "-p", str(port), cpus=(cpu,))
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
    first, second = cpus()[0], cpus()[:2][-1]
    one, two = [(first, second)], [(first, second), (second, first)]
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(arguments.rounds):
        for name, make in (("ikeclone", ikeclone), ("strongSwan kernel-libipsec", lambda: strongswan(root))):
            with make() as pair:
                found[name, "1 stream"].append(throughput(pair, arguments.seconds, one))
                found[name, "2 streams, a CPU each"].append(throughput(pair, arguments.seconds, two))
    Console(width=None if sys.stdout.isatty() else 140).print(table(found))
    return 0


def table(found: Mapping[tuple[str, str], list[float]]) -> Table:
    """Medians, and how many times strongSwan's for the same load each is."""
    view = Table("tunnel", "load", "Gbit/s", "rounds", "ratio")
    for (name, load), figures in found.items():
        rounds = " ".join(f"{figure:.2f}" for figure in figures)
        ratio = median(figures) / median(found["strongSwan kernel-libipsec", load])
        view.add_row(name, load, f"{median(figures):.2f}", rounds, f"{ratio:.1f}")
    return view


if __name__ == "__main__":
    sys.exit(main())
