"""ikeclone takes the connection down: nothing is left on either side, and it can come up again."""

from interop.lab import Lab, cpus, expect
from interop.scenarios.clones import open_clones


def run(lab: Lab) -> None:
    open_clones(lab, cpus()[:2])
    lab.ikeclone.command("down", "gw")
    expect("Child SAs", lab.ikeclone.traffic(), {})
    expect("IKE SAs", lab.ikeclone.status().ike_sas, [])
    lab.wait(lambda: not lab.strongswan.ike_sas(), "strongSwan without an IKE SA")
    expect("replies without a tunnel", lab.ping(count=1, patience=1), 0)
    lab.up()
    expect("replies", lab.ping(), 2)
