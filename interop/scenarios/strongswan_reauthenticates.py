"""strongSwan authenticates anew under traffic, make before break: other SAs in place of all, and no packet is lost."""

from interop.lab import Lab
from interop.steps import open_clones, reauthenticate


def run(lab: Lab) -> None:
    ours = open_clones(lab, options={"make_before_break": "yes"})
    reauthenticate(lab, ours, lambda: lab.strongswan.swanctl("--rekey", "--ike", "gw", "--reauth"))
