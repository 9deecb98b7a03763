"""strongSwan deletes the IKE SA: everything goes on both sides, and the connection can come up again."""

from interop.lab import Lab, cpus, expect
from interop.scenarios.clones import open_clones


def run(lab: Lab) -> None:
    open_clones(lab, cpus()[:2])
    lab.strongswan.terminate_ike()
    lab.wait(lambda: not lab.ikeclone.status().ike_sas, "ikeclone without an IKE SA")
    expect("Child SAs", lab.ikeclone.traffic(), {})
    expect("strongSwan's IKE SAs", lab.strongswan.ike_sas(), {})
    lab.up()
    expect("replies", lab.ping(), 2)
