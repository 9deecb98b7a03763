"""MOBIKE with strongSwan, which initiated: our address changes under traffic, then its own, shown by a cookie."""

from interop.kernel.lab import CPUS, KernelLab, PinnedPing
from interop.kernel.scenarios.mobike import MOBILE
from interop.kernel.steps import child_serials
from interop.lab import EAST, expect
from interop.moving import move_both


def run(lab: KernelLab) -> None:
    peer = lab.strongswan(EAST, MOBILE)
    west = lab.ikeclone(settings=MOBILE)
    peer.initiate()
    before = child_serials(west), {child.number for child in peer.children()}
    move_both((lab.west, lab.east), west, peer, lambda: PinnedPing(lab.west, CPUS[1]))
    expect("Child SAs", (child_serials(west), {child.number for child in peer.children()}), before)
