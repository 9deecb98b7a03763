"""Our address changes under traffic, then strongSwan's (MOBIKE, strongSwan initiated and decides)."""

from interop.lab import Lab
from interop.moving import move_both


def run(lab: Lab) -> None:
    lab.strongswan.start(connection={"mobike": "yes"})
    lab.start_ikeclone({"mobike": "yes"})
    lab.strongswan.initiate()
    move_both((lab.west, lab.east), lab.ikeclone, lab.strongswan, lab.pinging)
