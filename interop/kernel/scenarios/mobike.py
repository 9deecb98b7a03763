"""MOBIKE with strongSwan: our address changes under traffic, then strongSwan's; every state moves, clones included."""

from interop.kernel.lab import CPUS, KernelLab, PinnedPing, up
from interop.kernel.scenarios.strongswan import open_clones
from interop.kernel.states import states
from interop.kernel.steps import child_serials
from interop.lab import EAST, expect
from interop.moving import move_both

MOBILE = {"mobike": "yes"}


def run(lab: KernelLab) -> None:
    peer = lab.strongswan(EAST, MOBILE, per_cpu_sas="yes", start_action="trap")
    west = lab.ikeclone(settings={**MOBILE, "clones": "yes"})
    up(west)
    open_clones(lab, west)
    before = child_serials(west), {child.number for child in peer.children()}
    received = {state.spi: state.packets for state in states(lab.west) if not state.sends}
    move_both((lab.west, lab.east), west, peer, lambda: PinnedPing(lab.west, CPUS[1]))
    expect("Child SAs", (child_serials(west), {child.number for child in peer.children()}), before)
    after = {state.spi: state.packets for state in states(lab.west) if not state.sends}
    expect("inbound states that went on counting", [spi for spi in received if after[spi] < received[spi]], [])
