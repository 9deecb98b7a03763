"""ikeclone rekeys the IKE SA under traffic: its Child SAs move over, no packet is lost, the new one works."""

from interop.lab import Lab
from interop.steps import open_clones, rekey_children, rekey_ike


def run(lab: Lab) -> None:
    ours = open_clones(lab)
    rekey_ike(lab, lambda: lab.ikeclone.command("rekey", "gw", "--ike"))
    rekey_children(lab, ours, lambda: lab.ikeclone.command("rekey", "gw"))
