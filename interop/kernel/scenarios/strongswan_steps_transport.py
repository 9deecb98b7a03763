"""The same steps in transport mode, between the gateways, each SA of strongSwan's from a UDP port of its own."""

from interop.kernel.lab import KernelLab
from interop.kernel.scenarios.strongswan_steps import steps
from interop.lab import EAST, WEST


def run(lab: KernelLab) -> None:
    peer = lab.strongswan(
        EAST,
        {"encap": "yes"},
        per_cpu_sas="encap",
        start_action="trap",
        mode="transport",
        local_ts="dynamic",
        remote_ts="dynamic",
    )
    steps(lab, peer, (lab.west, WEST.address, EAST.address), type="transport", leftsubnet=None, rightsubnet=None)
