"""A fallback, then a clone for each of four CPUs with traffic; each CPU's packets are on its own state."""

from interop.kernel.lab import CPUS, KernelLab, clones, up
from interop.kernel.states import states
from interop.lab import EAST, expect
from interop.steps import PING


def run(lab: KernelLab) -> None:
    east = lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    expect("states of the fallback", [state.cpu for state in states(lab.west)], [None, None])
    for cpu in CPUS:
        expect(f"replies on CPU {cpu}, through the fallback", lab.ping(cpu), 1)
        lab.wait(lambda: cpu in clones(west), f"a clone for CPU {cpu}")  # noqa: B023  it is waited for at once
    lab.wait(lambda: {None, *CPUS} == {state.cpu for state in states(lab.west) if state.sends}, "clones that send")
    for cpu in CPUS:
        before = {state.spi: state for state in states(lab.west)}
        expect(f"replies on CPU {cpu}", lab.ping(cpu, 2), 2)
        sent = [
            (state.cpu, state.octets - before[state.spi].octets)
            for state in states(lab.west)
            if state.sends and state.octets != before[state.spi].octets
        ]
        expect(f"CPU and octets sent from CPU {cpu}", sent, [(cpu, 2 * PING)])
    west.command("down", "gw")
    lab.wait(lambda: not states(lab.west) and not states(lab.east), "kernels without states")
    for daemon in (west, east):
        expect("exit code", daemon.stop(), 0)
        expect("left behind", lab.leftovers(daemon.namespace), "")
