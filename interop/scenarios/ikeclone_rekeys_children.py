"""ikeclone rekeys the fallback and the clones under traffic: each stays on its CPU, no packet is lost."""

from interop.lab import Lab
from interop.steps import open_clones, rekey_children


def run(lab: Lab) -> None:
    ours = open_clones(lab)
    rekey_children(lab, ours, lambda: lab.ikeclone.command("rekey", "gw"))
