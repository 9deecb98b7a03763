"""Years of tunnels on a lossy network: `python -m tests.soak --tunnels 50 --days 1000`.

Every SA is rekeyed a few times a day, by whichever side comes first. At the end both sides of every tunnel must agree,
and the memory must be what it was after the first days.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
from collections import Counter
from pathlib import Path

from ikeclone.connection import Auto, Timing
from ikeclone.ike.actions import Kind
from ikeclone.wire.message import parse_header
from tests.pair.network import Network

DAY = 24 * 3600.0
WARM_UP = 10
TELLING = 50
TIMING = Timing(dpd_delay=4 * 3600.0)


def memory() -> float:
    """Resident memory of this process, in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def tunnel(seed: int, loss: float) -> Network:
    """One tunnel, which its west keeps up; packets of each day open clones."""
    net = Network(seed=seed, west={"auto": Auto.START, "timing": TIMING}, east={"timing": TIMING})
    net.link.loss, net.link.jitter = loss, 0.05
    net.run(60)
    return net


def live(net: Network, seconds: float) -> Counter[str]:
    """Let time pass with a little traffic; what happened in it."""
    for side in net.sides:
        for cpu in side.backend.cpus():
            side.packet(cpu)
    net.run(seconds)
    counts = Counter(report.kind.value for side in net.sides for report in side.reports)
    counts["exchanges"] = len({sent.data for sent in net.seen if parse_header(sent.data).response})
    counts["datagrams"] = len(net.seen)
    forget(net)
    return counts


def forget(net: Network) -> None:
    """The network remembers all it has seen; here that would be too much."""
    net.seen.clear()
    net.lost_packets.clear()
    for side in net.sides:
        side.sent.clear()
        side.reports.clear()


def check(net: Network) -> None:
    """After some calm minutes the tunnel is up and both sides agree."""
    net.link.loss = net.link.jitter = 0.0
    net.run(1800)
    if not all(side.children for side in net.sides):
        raise AssertionError(f"a tunnel is down: {[side.children for side in net.sides]}")
    net.assert_consistent()


def soak(tunnels: int, days: int, loss: float) -> None:
    nets = [tunnel(seed, loss) for seed in range(tunnels)]
    totals: Counter[str] = Counter()
    begun, before = time.monotonic(), 0.0
    for day in range(days):
        for net in nets:
            totals += live(net, DAY)
        if day + 1 == min(WARM_UP, days):
            before = memory()
        if (day + 1) % TELLING == 0:
            sys.stderr.write(f"day {day + 1}: {totals['exchanges']} exchanges, {memory():.1f} MiB\n")
    seconds, after = time.monotonic() - begun, memory()
    for net in nets:
        check(net)
    report(totals, f"{tunnels} tunnels, {days} days, {loss:.0%} loss", seconds, (before, after))


def report(totals: Counter[str], what: str, seconds: float, memories: tuple[float, float]) -> None:
    rekeys = totals[Kind.CHILD_REKEYED.value] // 2, totals[Kind.IKE_REKEYED.value] // 2
    rate = totals["exchanges"] / seconds
    lines = (
        f"{what}: every tunnel is up, both sides agree",
        f"rekeys: {rekeys[0]} of Child SAs, {rekeys[1]} of IKE SAs; IKE SAs ended: {totals[Kind.IKE_DOWN.value]}",
        f"exchanges: {totals['exchanges']} in {seconds:.0f} s, {rate:.0f} per second; {totals['datagrams']} datagrams",
        f"memory: {memories[0]:.1f} MiB after {WARM_UP} days, {memories[1]:.1f} MiB at the end",
    )
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.soak")
    parser.add_argument("--tunnels", type=int, default=50)
    parser.add_argument("--days", type=int, default=1000)
    parser.add_argument("--loss", type=float, default=0.05)
    options = parser.parse_args()
    soak(options.tunnels, options.days, options.loss)


if __name__ == "__main__":
    main()
