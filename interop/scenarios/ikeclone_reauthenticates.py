"""ikeclone authenticates anew under traffic: another IKE SA with other Child SAs, and no packet is lost."""

from interop.lab import Lab
from interop.steps import open_clones, reauthenticate


def run(lab: Lab) -> None:
    ours = open_clones(lab)
    reauthenticate(lab, ours, lambda: lab.ikeclone.command("rekey", "gw", "--reauth"))
