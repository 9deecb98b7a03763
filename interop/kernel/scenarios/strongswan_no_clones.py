"""strongSwan without clones (per_cpu_sas=no), each initiating: one SA has the pings of every CPU, and their replies."""

from interop.kernel.lab import CPUS, KernelLab, up
from interop.kernel.scenarios.strongswan_steps import expect_path
from interop.kernel.states import states
from interop.kernel.steps import expect_no_states, renew_children
from interop.lab import EAST, expect


def run(lab: KernelLab) -> None:
    peer = lab.strongswan(EAST, per_cpu_sas="no", start_action="trap")
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    one_for_all(lab)
    west.command("down", "gw")
    expect_no_states(lab)
    peer.initiate()
    one_for_all(lab)
    for rekey in (lambda: west.command("rekey", "gw"), peer.rekey_children):
        renew_children(lab, west, rekey)
        lab.wait(lambda: len([state for state in states(lab.east) if state.sends]) == 1, "one SA of east that sends")
        one_for_all(lab)
    expect("strongSwan's Child SAs", [child.cpu for child in peer.children()], [""])


def one_for_all(lab: KernelLab) -> None:
    """There is one SA, and it carries a ping of each CPU."""
    lab.wait(lambda: [state.cpu for state in states(lab.west)] == [None, None], "one SA of west")
    for cpu in CPUS:
        expect_path(lab, cpu, None, None)
