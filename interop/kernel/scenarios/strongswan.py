"""ikeclone and strongSwan with per_cpu_sas, each initiating: fallback, a clone for each CPU, rekeys by both sides."""

from collections.abc import Collection

from interop.kernel.lab import CPUS, KernelDaemon, KernelLab, PinnedPing, clones, up
from interop.kernel.states import sending, states
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
    """Each CPU of both sides gets a clone, and west sends from each of its CPUs on its own."""
    for cpu in CPUS:
        # While strongSwan waits for a clone, its kernel drops what its other CPUs without one send, and asks for none.
        lab.wait(lambda: lab.ping(cpu, patience=1), f"a reply on CPU {cpu}, through the fallback")  # noqa: B023
        lab.wait(lambda: cpu in clones(west), f"a clone for CPU {cpu}")  # noqa: B023  it is waited for at once
        lab.wait(lambda: cpu in sending(lab.east), f"strongSwan's SA for CPU {cpu}")  # noqa: B023  likewise
    lab.wait(lambda: not lacking(lab) and west.settled("gw"), "clones that send on both sides, and none on its way")
    for cpu in CPUS:
        before = {state.spi: state.octets for state in states(lab.west)}
        expect(f"replies on CPU {cpu}", lab.ping(cpu, 2), 2)
        after = [state for state in states(lab.west) if state.sends]
        sent = [(state.cpu, state.octets - before[state.spi]) for state in after if state.octets != before[state.spi]]
        expect(f"CPU and octets sent from CPU {cpu}", sent, [(cpu, 2 * PING)])


def lacking(lab: KernelLab) -> list[int]:
    """The CPUs without a clone of their own on either side; they are given packets that ask for one.

    One that both sides opened at once may have gone again. Until strongSwan has it anew, replies would be dropped.
    """
    there = sending(lab.west).keys() & sending(lab.east).keys()
    found = [cpu for cpu in CPUS if cpu not in there]
    for cpu in found:
        lab.ping(cpu, patience=1)
    return found


def rekey_by_both(lab: KernelLab, west: KernelDaemon, peer: KernelStrongSwan, ours: Collection[int] = CPUS) -> None:
    """Both sides rekey everything under a ping; nothing is lost, and these CPUs of west's still have SAs to send on."""
    with PinnedPing(lab.west, CPUS[1]) as running:
        for rekey in (lambda: west.command("rekey", "gw"), peer.rekey_children):
            serials = {row.serial for row in west.traffic().values()}
            rekey()
            lab.wait(lambda: not serials & {row.serial for row in west.traffic().values()}, "new Child SAs")  # noqa: B023
            running.await_replies()
    expect("lost pings", running.lost, [])
    lab.wait(lambda: set(sending(lab.west)) == {None, *ours}, "an SA that sends for each CPU")
