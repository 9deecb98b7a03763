"""ikeclone and strongSwan with per_cpu_sas, each initiating: fallback, a clone for each CPU, rekeys by both sides."""

from interop.kernel.lab import CPUS, KernelDaemon, KernelLab, PinnedPing, clones, up
from interop.kernel.states import states
from interop.kernel.strongswan import KernelStrongSwan
from interop.lab import EAST, expect
from interop.steps import PING


def run(lab: KernelLab) -> None:
    peer = lab.strongswan(EAST, per_cpu_sas="yes", start_action="trap")
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    open_clones(lab, west)
    rekey_by_both(lab, west, peer)
    west.command("down", "gw")
    lab.wait(lambda: not states(lab.west) and not states(lab.east), "kernels without states")
    peer.initiate()
    open_clones(lab, west)
    peer.terminate_ike()
    lab.wait(lambda: not states(lab.west) and not states(lab.east), "kernels without states")


def open_clones(lab: KernelLab, west: KernelDaemon) -> None:
    """Each of west's CPUs gets a clone and sends on it."""
    for cpu in CPUS:
        # strongSwan drops some replies while it waits for a clone of its own.
        lab.wait(lambda: lab.ping(cpu, patience=1), f"a reply on CPU {cpu}, through the fallback")  # noqa: B023
        lab.wait(lambda: cpu in clones(west), f"a clone for CPU {cpu}")  # noqa: B023  it is waited for at once
    lab.wait(lambda: {None, *CPUS} == {state.cpu for state in states(lab.west) if state.sends}, "clones that send")
    for cpu in CPUS:
        before = {state.spi: state.octets for state in states(lab.west)}
        expect(f"replies on CPU {cpu}", lab.ping(cpu, 2), 2)
        after = [state for state in states(lab.west) if state.sends]
        sent = [(state.cpu, state.octets - before[state.spi]) for state in after if state.octets != before[state.spi]]
        expect(f"CPU and octets sent from CPU {cpu}", sent, [(cpu, 2 * PING)])


def rekey_by_both(lab: KernelLab, west: KernelDaemon, peer: KernelStrongSwan) -> None:
    """Both sides rekey everything under a ping; nothing is lost."""
    with PinnedPing(lab.west, CPUS[1]) as running:
        for rekey in (lambda: west.command("rekey", "gw"), peer.rekey_children):
            serials = {row.serial for row in west.traffic().values()}
            rekey()
            lab.wait(lambda: not serials & {row.serial for row in west.traffic().values()}, "new Child SAs")  # noqa: B023
            running.await_replies()
    expect("lost pings", running.lost, [])
    expect("CPUs that send", {state.cpu for state in states(lab.west) if state.sends}, {None, *CPUS})
