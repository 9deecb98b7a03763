"""The same steps with strongSwan sending each SA from a UDP port of its own (per_cpu_sas=encap): the same counts."""

from interop.kernel.lab import KernelLab
from interop.kernel.scenarios.strongswan_steps import forward, steps
from interop.lab import EAST


def run(lab: KernelLab) -> None:
    steps(lab, lab.strongswan(EAST, {"encap": "yes"}, per_cpu_sas="encap", start_action="trap"))
    forward(lab)
