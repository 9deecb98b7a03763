"""ikeclone initiates with a preshared key; pings go both ways."""

from interop.lab import Lab
from interop.steps import ping_both_ways


def run(lab: Lab) -> None:
    lab.strongswan.start()
    lab.start_ikeclone()
    lab.up()
    ping_both_ways(lab)
