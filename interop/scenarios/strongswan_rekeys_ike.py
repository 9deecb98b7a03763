"""strongSwan rekeys the IKE SA under traffic: Child SAs move over, no packet is lost, the new one works."""

from interop.lab import Lab
from interop.steps import open_clones, rekey_children, rekey_ike


def run(lab: Lab) -> None:
    ours = open_clones(lab)
    rekey_ike(lab, lab.strongswan.rekey_ike)
    rekey_children(lab, ours, lab.strongswan.rekey_children)
