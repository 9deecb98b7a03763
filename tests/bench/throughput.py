"""How much TCP goes through the pure-Python data plane: `python -m tests.bench.throughput [--json]`, as root.

Two namespaces, an EspBackend in each, fixed keys and no IKE; iperf3 measures one stream on one pair of CPUs, then one
stream on each of two. Other tunnels are measured the same way by calling `measure` with namespaces of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from ikeclone_esp import EspBackend
from tests.dataplane.netns import Namespace, connect
from tests.dataplane.sides import Side, Tunnel

OUTER = ("198.51.100.1", "198.51.100.2")
INNER = ("10.1.0.1", "10.2.0.1")
_FIRST_PORT = 5201
_PRIORITY = ["nice", "-n", "-15"]


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement: Gbit/s of TCP payload received, the median and all runs; retransmits of all runs."""

    what: str
    streams: int
    gbits: float
    runs: tuple[float, ...]
    retransmits: int


def prepare(namespace: Namespace) -> None:
    """Reno for every new socket: sockets born with BBR keep pacing, whatever iperf3 asks for later."""
    namespace.run("sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno")


def measure(what: str, client: Namespace, server: Namespace, address: str, streams: list[tuple[int, int]],
            seconds: int = 5, runs: int = 3) -> Result:  # fmt: skip
    """Send TCP streams from client to `address` in server; each has a CPU at the client's and one at the server's."""
    rates: list[float] = []
    retransmits = 0
    for _ in range(runs):
        ends = _run(client, server, address, streams, seconds)
        rates.append(sum(end["sum_received"]["bits_per_second"] for end in ends) / 1e9)
        retransmits += int(sum(end["sum_sent"]["retransmits"] for end in ends))
    return Result(what, len(streams), statistics.median(rates), tuple(rates), retransmits)


def _run(client: Namespace, server: Namespace, address: str, streams: list[tuple[int, int]],
         seconds: int) -> list[dict[str, dict[str, float]]]:  # fmt: skip
    servers, clients = [], []
    for number, (_, cpu) in enumerate(streams):
        pinned = [*_PRIORITY, "taskset", "-c", str(cpu)]
        command = server.command(*pinned, "iperf3", "-s", "-1", "--forceflush", "-p", str(_FIRST_PORT + number))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        servers.append(process)
        assert process.stdout is not None
        while "listening" not in process.stdout.readline():
            assert process.poll() is None, "the iperf3 server ended"
    for number, (cpu, _) in enumerate(streams):
        pinned = [*_PRIORITY, "taskset", "-c", str(cpu)]
        options = ["-c", address, "-p", str(_FIRST_PORT + number), "-t", str(seconds), "-C", "reno", "-J"]
        clients.append(subprocess.Popen(client.command(*pinned, "iperf3", *options), stdout=subprocess.PIPE))
    reports = [json.loads(process.communicate(timeout=seconds + 20)[0]) for process in clients]
    for process in servers:
        process.communicate(timeout=10)
    for report in reports:
        if "error" in report:
            raise RuntimeError(f"iperf3: {report['error']}")
    return [report["end"] for report in reports]


@contextmanager
def our_tunnel(left: Namespace, right: Namespace, outer: tuple[str, str] = OUTER,
               inner: tuple[str, str] = INNER) -> Iterator[Tunnel]:  # fmt: skip
    """A tunnel between the namespaces, which can reach each other at the outer addresses and have the inner ones.

    It has the fallback SA and a clone pair for each CPU; the CPUs of a pair differ between the sides, so that on a
    machine with both ends a stream's two workers don't share a CPU.
    """
    sides = [Side(namespace, outer[i], inner[i], inner[i]) for i, namespace in enumerate((left, right))]
    running: list[Side] = []
    try:
        for side in sides:
            side.start()
            running.append(side)
        tunnel = Tunnel(sides[0], sides[1])
        tunnel.route()
        tunnel.add()
        cpus = sorted(EspBackend().cpus())
        for cpu, other in zip(cpus, reversed(cpus), strict=True):
            tunnel.add(cpu, other)
        _favour_workers(running)
        yield tunnel
    finally:
        for side in running:
            side.stop()


def _favour_workers(sides: list[Side]) -> None:
    """Give the workers iperf3's priority, so that what else runs here disturbs both alike."""
    for side in sides:
        for part in side.backend.describe()["workers"].split(", "):
            os.setpriority(os.PRIO_PROCESS, int(part.rsplit(" ", 1)[1]), -15)


@contextmanager
def joined_namespaces(mtu: int = 1500) -> Iterator[tuple[Namespace, Namespace]]:
    """Two namespaces joined by virtual Ethernet, with the outer and inner addresses above."""
    left, right = Namespace(), Namespace()
    try:
        connect(left, right, [(f"{OUTER[0]}/24", f"{OUTER[1]}/24")], mtu)
        for namespace, address in ((left, INNER[0]), (right, INNER[1])):
            namespace.run("ip", "address", "add", f"{address}/32", "dev", "lo")
            prepare(namespace)
        yield left, right
    finally:
        left.close()
        right.close()


def measure_ours(seconds: int = 5, runs: int = 3, mtu: int = 1500) -> list[Result]:
    """Plain virtual Ethernet for comparison, then our tunnel with one stream, and with one on each of two CPUs."""
    cpus = sorted(EspBackend().cpus())
    first, last = cpus[0], cpus[-1]
    with joined_namespaces(mtu) as (left, right):
        results = [measure("no tunnel", left, right, OUTER[1], [(first, last)], seconds, 1)]
        with our_tunnel(left, right):
            results.append(measure("ikeclone esp", left, right, INNER[1], [(first, last)], seconds, runs))
            if len(cpus) > 1:
                streams = [(first, last), (last, first)]
                results.append(measure("ikeclone esp", left, right, INNER[1], streams, seconds, runs))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="duration of a run")
    parser.add_argument("--runs", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--mtu", type=int, default=1500, help="MTU of the network between the ends")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    results = measure_ours(options.seconds, options.runs, options.mtu)
    if options.json:
        json.dump([asdict(result) for result in results], sys.stdout, indent=2)
        return
    lines = [f"{'':16}{'streams':>8}{'Gbit/s':>8}  runs; retransmits"]
    for result in results:
        runs = " ".join(f"{rate:.2f}" for rate in result.runs)
        lines.append(f"{result.what:16}{result.streams:>8}{result.gbits:>8.2f}  {runs}; {result.retransmits}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
