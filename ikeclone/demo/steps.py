"""What the demonstration shows, a function for each step; it raises when the step does not hold."""

from __future__ import annotations

import time
from collections.abc import Callable

from ikeclone.control.models import TrafficRow, Up
from ikeclone.demo.daemons import DaemonProcess, start_together
from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.pings import RunningPing, ping
from ikeclone.demo.report import Step, check
from ikeclone.demo.tunnel import CONNECTION, DEVICE, EASTNET, WESTNET, Tunnel
from ikeclone.demo.waiting import wait_until

# IP header, ICMP header, and the 56 octets that ping sends.
ECHO = 84


def start(tunnel: Tunnel, step: Step) -> None:
    """Both daemons run, each in its namespace."""
    start_together(tunnel.west, tunnel.east, keylog=tunnel.keylog)
    step.show("west 192.1.2.45, network 192.0.1.0/24; east 192.1.2.23, network 192.0.2.0/24")
    if len(tunnel.cpus) < 2:
        step.show("this process may use one CPU: pings from that one only")


def up(tunnel: Tunnel, step: Step) -> None:
    """The connection comes up with its fallback SA alone."""
    begin = time.monotonic()
    tunnel.west.call(Up(name=CONNECTION))
    step.show(f"established {_ms(begin)} after the command")
    for daemon in (tunnel.west, tunnel.east):
        check(list(daemon.traffic()) == [f"{CONNECTION}-0"], "there is more than the fallback SA")
    step.show(f"one Child SA: {CONNECTION}-0, the fallback")


def first_pings(tunnel: Tunnel, step: Step) -> None:
    """A ping on each CPU is answered, through the fallback, and brings up the clone of that CPU."""
    begin = time.monotonic()
    for cpu in tunnel.cpus:
        replies = ping(tunnel.west.namespace, WESTNET, EASTNET, cpus=(cpu,))
        check(len(replies) == 1, f"no reply to the ping on CPU {cpu}")
        if cpu == tunnel.cpus[0]:
            step.show(f"first reply {_ms(begin)} after the first ping was started ({replies[0]:.2f} ms on the way)")
        _await_clone(tunnel, cpu)
        step.show(f"the clone of CPU {cpu} there after {_ms(begin)}")
    # A responder sends on a clone once it may be sure that the initiator has it.
    ends = (tunnel.west, tunnel.east)
    wait_until(lambda: all(daemon.settled(CONNECTION) for daemon in ends), 30, "clones that send", 0.005)
    step.show(f"both sides send on their clones after {_ms(begin)}")


def _await_clone(tunnel: Tunnel, cpu: int) -> None:
    """Wait for the clone of a CPU, while pinging if its packets may have gone to another."""
    steered_by_cpu = _steered_by_cpu(tunnel)

    def there() -> bool:
        if cpu in _by_cpu(tunnel.west):
            return True
        if not steered_by_cpu:
            # Another flow, which may be given to that CPU.
            ping(tunnel.west.namespace, WESTNET, EASTNET)
        return False

    wait_until(there, 30, f"a clone on CPU {cpu}", 0.002)


def own_pings(tunnel: Tunnel, step: Step) -> None:
    """Two pings on a CPU go over the clone of that CPU, there and back, and over nothing else."""
    if not _steered_by_cpu(tunnel):
        step.skip(f"packets go to clones {_steering(tunnel)}")
        return
    for cpu in tunnel.cpus:
        before = _by_cpu(tunnel.west)
        replies = ping(tunnel.west.namespace, WESTNET, EASTNET, count=2, cpus=(cpu,))
        check(len(replies) == 2, f"{len(replies)} replies to 2 pings on CPU {cpu}")
        after = _by_cpu(tunnel.west)
        grown = {
            row.name: (row.in_bytes - before[at].in_bytes, row.out_bytes - before[at].out_bytes)
            for at, row in after.items()
        }
        name = after[cpu].name
        expected = {row.name: (0, 0) for row in after.values()} | {name: (2 * ECHO, 2 * ECHO)}
        check(grown == expected, f"octets in and out for CPU {cpu}: {grown}")
        step.show(f"taskset {1 << cpu:#x} ping -n -c 2 -I {WESTNET} {EASTNET}: {name} +168 in, +168 out")


def trafficstatus(tunnel: Tunnel, step: Step) -> None:
    """The user sees the fallback and each clone with its own octets."""
    output = tunnel.west.command("trafficstatus")
    step.output = output.rstrip()
    step.show(f"{len(output.splitlines())} lines, above: the fallback and the clones")
    rows = _by_cpu(tunnel.west)
    for cpu in (None, *tunnel.cpus):
        check(f'"{rows[cpu].name}", type=ESP' in output, f"no line of {rows[cpu].name}")
    check(rows[None].name == f"{CONNECTION}-0", f"the fallback is {rows[None].name}")
    check(len(output.splitlines()) == len(rows), "more lines than Child SAs")


def rekey(tunnel: Tunnel, step: Step) -> None:
    """Every SA is replaced while a ping runs, and no packet is lost."""
    children, ike, cpus = _serials(tunnel.west), _ike_serials(tunnel.west), set(_by_cpu(tunnel.west))
    with RunningPing(tunnel.west.namespace, WESTNET, EASTNET) as running:
        running.await_replies()
        tunnel.west.command("rekey", CONNECTION)
        wait_until(lambda: not children & _serials(tunnel.west), 30, "new Child SAs in place of all old ones")
        running.await_replies()
        tunnel.west.command("rekey", CONNECTION, "--ike")
        wait_until(lambda: not ike & _ike_serials(tunnel.west), 30, "another IKE SA")
        running.await_replies()
    step.show(f"Child SAs {_numbers(children)} are now {_numbers(_serials(tunnel.west))}")
    step.show(f"IKE SA {_numbers(ike)} is now {_numbers(_ike_serials(tunnel.west))}")
    check(not running.lost, f"pings without a reply: {running.lost}")
    step.show(f"{running.replies} pings meanwhile, none lost")
    check(set(_by_cpu(tunnel.west)) == cpus, "a clone is not on its CPU any more")


def down(tunnel: Tunnel, step: Step) -> None:
    """Nothing of the connection stays on either side."""
    tunnel.west.command("down", CONNECTION)
    ends = (tunnel.west, tunnel.east)
    wait_until(lambda: not any(daemon.ike_sas() or daemon.traffic() for daemon in ends), 30, "the end of all SAs")
    step.show("no SA on either side")


def stop(tunnel: Tunnel, step: Step) -> None:
    """The daemons end in order and leave the systems as they were."""
    for daemon in (tunnel.west, tunnel.east):
        code = daemon.stop()
        check(code == 0, f"a daemon ended with code {code}")
        left = _devices(daemon.namespace) - {"lo", DEVICE}
        check(not left, f"devices left behind: {left}")
        check(not daemon.socket.exists(), "a control socket is left behind")
    step.show("no process, device or socket left")


ALL: tuple[tuple[str, Callable[[Tunnel, Step], None]], ...] = (
    ("two daemons", start),
    (f"ikeclone up {CONNECTION}", up),
    ("a ping on each CPU", first_pings),
    ("two more on each CPU", own_pings),
    ("ikeclone trafficstatus", trafficstatus),
    ("ikeclone rekey, all under a ping", rekey),
    (f"ikeclone down {CONNECTION}", down),
    ("the end", stop),
)


def _steering(tunnel: Tunnel) -> str:
    """How packets find their clone: by CPU, or otherwise where the kernel does not let this user choose."""
    return tunnel.west.status().data_plane["steering"]


def _steered_by_cpu(tunnel: Tunnel) -> bool:
    return _steering(tunnel).startswith("by CPU")


def _ms(begin: float) -> str:
    return f"{(time.monotonic() - begin) * 1000:.0f} ms"


def _by_cpu(daemon: DaemonProcess) -> dict[int | None, TrafficRow]:
    return {row.cpu: row for row in daemon.traffic().values()}


def _serials(daemon: DaemonProcess) -> set[int]:
    return {row.serial for row in daemon.traffic().values()}


def _ike_serials(daemon: DaemonProcess) -> set[int]:
    return {sa.serial for sa in daemon.ike_sas()}


def _numbers(serials: set[int]) -> str:
    return " ".join(f"#{serial}" for serial in sorted(serials))


def _devices(namespace: Namespace) -> set[str]:
    lines = namespace.ip("-brief link").splitlines()
    return {line.split()[0].partition("@")[0] for line in lines}
