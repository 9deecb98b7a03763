"""Our address changes under traffic, then strongSwan's (MOBIKE, we initiated): the IKE SA moves, pings flow again."""

from interop.lab import Lab
from interop.moving import move_both


def run(lab: Lab) -> None:
    lab.strongswan.start(connection={"mobike": "yes"})
    lab.start_ikeclone({"mobike": "yes"})
    lab.up()
    move_both((lab.west, lab.east), lab.ikeclone, lab.strongswan, lab.pinging)
