"""ikeclone with 2 CPUs and strongSwan with 4, then the other way: ikeclone sends from each CPU that it has."""

from collections.abc import Collection

from interop.kernel.lab import CPUS, KernelLab, up
from interop.kernel.scenarios.asymmetric import CLONES, FEW
from interop.kernel.scenarios.strongswan import rekey_by_both
from interop.kernel.states import sending, states
from interop.kernel.steps import expect_no_states
from interop.lab import EAST, WEST, expect

LIMIT = 300


def run(lab: KernelLab) -> None:
    for ours, theirs in ((FEW, CPUS), (CPUS, FEW)):
        peer = lab.strongswan(EAST, cpus=theirs, per_cpu_sas="yes", start_action="trap")
        west = lab.ikeclone(WEST, CLONES, cpus=ours)
        up(west)
        for cpu in CPUS:
            lab.wait(lambda: lab.ping(cpu, patience=1), f"a reply on CPU {cpu}")  # noqa: B023  it is waited for at once
            lab.wait(lambda: cpu in sending(lab.east), f"strongSwan's SA for CPU {cpu}")  # noqa: B023  likewise
        await_senders(lab, ours)
        for cpu in CPUS:
            expect(f"replies on CPU {cpu}", lab.ping(cpu, 2), 2)
        rekey_by_both(lab, west, peer, ours)
        await_senders(lab, ours)
        peer.terminate_ike()
        expect_no_states(lab)
        west.stop()
        peer.end()


def await_senders(lab: KernelLab, ours: Collection[int]) -> None:
    """West sends on one state for each of these CPUs and the fallback, and receives on all that strongSwan sends on."""
    wanted = dict.fromkeys((None, *ours), 1)
    lab.wait(lambda: sending(lab.west) == wanted, f"CPUs {list(wanted)} of west that send")
    lab.wait(lambda: not only_strongswan_has(lab), "no SA that only strongSwan has")


def only_strongswan_has(lab: KernelLab) -> set[int]:
    """The SPIs of SAs that strongSwan sends on and ikeclone does not receive."""
    sent = {state.spi for state in states(lab.east) if state.sends}
    return sent - {state.spi for state in states(lab.west) if not state.sends}
