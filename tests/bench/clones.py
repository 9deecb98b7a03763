"""How fast clones come up, and what their rekeys lose: `python -m tests.bench.clones [--json] [CPUS …]`, as root.

`esp`: two daemons in namespaces with the pure-Python data plane on the CPUs that are there, pings, and a capture of the
cable. `memory`: two endpoints in one process and one thread, on real UDP sockets of the loopback device, with data
planes in memory of as many CPUs as asked for; what they take is the work of both sides on one CPU.

The times are from the first packet until the fallback and all clones are there (`esp`: from the first IKE message that
it causes until the response to the last).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from ikeclone.control.models import Rekey
from ikeclone.demo.capture import Capture
from ikeclone.demo.daemons import DaemonProcess
from ikeclone.demo.pings import RunningPing
from ikeclone.demo.tunnel import CONNECTION, DEVICE, EASTNET, IPSEC_CONF, WESTNET, hosts
from ikeclone.demo.waiting import wait_until
from tests.bench.hosts import Host, lost_packets, running, sending
from tests.dataplane.netns import Namespace

REKEYS = 100
PATIENCE = 60.0
CREATE_CHILD_SA = "36"


@dataclass(frozen=True, slots=True)
class Result:
    """Milliseconds, IKE messages of both sides until all clones are up, rekeyed SAs, packets of both directions."""

    data_plane: str
    cpus: int
    fallback: float
    clones: float
    messages: int
    rekeys: int
    packets: int
    lost: int


def measure_memory(cpus: int) -> Result:
    """In a namespace of its own, whose ports 500 and 4500 are free."""
    namespace = Namespace()
    try:
        namespace.run("ip", "link", "set", "lo", "up")
        return namespace.call(_memory(cpus), 2 * PATIENCE)
    finally:
        namespace.close()


async def _memory(cpus: int) -> Result:
    async with running(cpus, cpus) as (west, east):
        begin = time.monotonic()
        fallback = await sending(lambda: bool(west.backend.outbound), west, east)
        await sending(lambda: west.sending == cpus, west, east)
        clones = time.monotonic() - begin
        messages = west.messages + east.messages
        await sending(lambda: east.sending == cpus, west, east)
        assert await lost_packets(west, east) == 0
        for host in (west, east):
            host.left = host.arrived = 0
        rekeys = 0
        for side in cycle((west, east)):
            if rekeys >= REKEYS:
                break
            rekeys += await _rekey(side, west, east)
        packets, lost = west.left + east.left, await lost_packets(west, east)
        return Result("memory", cpus, fallback * 1000, clones * 1000, messages, rekeys, packets, lost)


async def _rekey(side: Host, west: Host, east: Host) -> int:
    """Rekey every SA under traffic both ways; how many there were."""
    old = [(set(host.backend.installed), host) for host in (west, east)]
    count = side.rekey()
    await sending(lambda: not any(spis & set(h.backend.installed) for spis, h in old), west, east, both=True)
    return count


def measure_esp() -> Result:
    """On the CPUs that this process may use, two at most."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    with ExitStack() as stack:
        files = Path(stack.enter_context(TemporaryDirectory(prefix="ikeclone-bench-")))
        west, east = stack.enter_context(hosts())
        conf = IPSEC_CONF.replace("auto=add", "auto=ondemand").replace("clones=2", f"clones={len(cpus)}")
        daemons = []
        for namespace in (west, east):
            (files / namespace.name).mkdir()
            daemon = DaemonProcess(namespace, files / namespace.name, conf, '@west @east : PSK "that of a benchmark"\n')
            stack.callback(daemon.stop)
            daemon.start()
            daemons.append(daemon)
        capture = Capture(west, DEVICE, files / "cable.pcap")
        stack.callback(capture.close)
        pings = [RunningPing(west, WESTNET, EASTNET, 0.005, (cpu,)) for cpu in cpus]
        with ExitStack() as running_pings:
            for ping in pings:
                running_pings.enter_context(ping)
            wait_until(
                lambda: {row.cpu for row in daemons[0].traffic().values()} == {None, *cpus},
                PATIENCE,
                "a clone for each CPU",
            )
            wait_until(lambda: all(d.settled(CONNECTION) for d in daemons), PATIENCE, "clones that send")
            fallback, clones, messages = _on_the_cable(capture.file, len(cpus))
            rekeys = _rekey_all(daemons)
            for ping in pings:
                ping.await_replies()
        lost = sum(len(ping.lost) for ping in pings)
        packets = 2 * sum(ping.replies for ping in pings)
        return Result("esp", len(cpus), fallback, clones, messages, rekeys, packets, lost)


def _rekey_all(daemons: list[DaemonProcess]) -> int:
    """Let the sides rekey every SA in turn; how many that were."""
    rekeys = 0
    for daemon in cycle(daemons):
        if rekeys >= REKEYS:
            break
        rekeys += _rekey_at(daemon)
    return rekeys


def _rekey_at(daemon: DaemonProcess) -> int:
    old = {row.serial for row in daemon.traffic().values()}
    daemon.call(Rekey(name=CONNECTION))
    wait_until(lambda: not old & {row.serial for row in daemon.traffic().values()}, PATIENCE, "new SAs", 0.01)
    return len(old)


def _on_the_cable(capture: Path, clones: int) -> tuple[float, float, int]:
    """When the fallback and the last clone were there, and the number of IKE messages until then."""
    fields = ("-T", "fields", "-e", "frame.time_relative", "-e", "isakmp.exchangetype", "-e", "isakmp.flag_r")
    command = ["tshark", "-n", "-r", str(capture), "-Y", "isakmp", *fields]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    messages = [line.split() for line in output.splitlines()]
    responses = [
        i for i, (_, exchange, flag) in enumerate(messages) if exchange == CREATE_CHILD_SA and flag in ("1", "True")
    ]
    last = responses[clones - 1]
    begin = float(messages[0][0])
    return (float(messages[3][0]) - begin) * 1000, (float(messages[last][0]) - begin) * 1000, last + 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.clones", description=__doc__)
    parser.add_argument("cpus", nargs="*", type=int, default=[2, 16, 64], metavar="CPUS", help="for the one in memory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    results = [measure_esp(), *(measure_memory(cpus) for cpus in options.cpus)]
    if options.json:
        json.dump([asdict(result) for result in results], sys.stdout, indent=2)
    else:
        Console(width=None if sys.stdout.isatty() else 140).print(table(results))


def table(results: list[Result]) -> Table:
    """A line for each result."""
    view = Table(
        "data plane", "CPUs", "fallback ms", "clones ms", "messages", "SAs rekeyed", "packets meanwhile", "lost"
    )
    for result in results:
        numbers = (result.messages, result.rekeys, result.packets, result.lost)
        times = (f"{result.fallback:.1f}", f"{result.clones:.1f}")
        view.add_row(result.data_plane, str(result.cpus), *times, *map(str, numbers))
    return view


if __name__ == "__main__":
    main()
