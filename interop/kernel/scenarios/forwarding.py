"""Traffic of a host behind each gateway, forwarded: each stream's CPU has its clone, rekeys lose nothing."""

from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.pings import RunningPing
from interop.kernel.lab import KernelLab, clones, up
from interop.kernel.states import states
from interop.kernel.steps import renew_children
from interop.lab import EAST, WEST, expect
from interop.swanctl import End

HOSTS = {WEST.name: "192.0.1.2", EAST.name: "192.0.2.2"}
CPU = 2  # forwarding goes on where the sender was: veth hands packets over on the same CPU


def run(lab: KernelLab) -> None:
    with Namespace("sunrise") as sunrise, Namespace("sunset") as sunset:
        behind(lab.west, WEST, sunset)
        behind(lab.east, EAST, sunrise)
        east = lab.ikeclone(EAST, {"clones": "yes"})
        west = lab.ikeclone(settings={"clones": "yes"})
        up(west)
        with RunningPing(sunset, HOSTS[WEST.name], HOSTS[EAST.name], 0.05, (CPU,)) as running:
            lab.wait(lambda: CPU in clones(west), f"a clone for CPU {CPU}")
            for daemon in (west, east):
                renew_children(lab, west, lambda: daemon.command("rekey", "gw"))  # noqa: B023  it is called at once
                running.await_replies()
            before = {state.spi: state.packets for state in states(lab.west) if state.sends}
            running.await_replies()
        sent = {state.cpu for state in states(lab.west) if state.sends and state.packets > before.get(state.spi, 0)}
        expect("CPUs whose states carried the stream", sent, {CPU})
        expect("lost pings", running.lost, [])


def behind(gateway: Namespace, end: End, host: Namespace) -> None:
    """Connect a host to its gateway."""
    address = HOSTS[end.name]
    gateway.connect(host, "eth2", f"{end.inner}/24", f"{address}/24")
    gateway.sysctl("net.ipv4.ip_forward", 1)
    host.ip(f"route add default via {end.inner}")
