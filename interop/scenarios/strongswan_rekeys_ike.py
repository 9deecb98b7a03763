"""strongSwan rekeys the IKE SA under traffic: Child SAs move over, no packet is lost, the new one works."""

from interop.lab import Lab, cpus, expect
from interop.scenarios.clones import open_clones


def run(lab: Lab) -> None:
    open_clones(lab, cpus()[:2])
    children = {row.serial for row in lab.ikeclone.traffic().values()}
    [old] = (sa.serial for sa in lab.ikeclone.status().ike_sas)
    with lab.pinging() as pinging:
        pinging.await_replies()
        lab.strongswan.rekey_ike()
        lab.wait(lambda: old not in {sa.serial for sa in lab.ikeclone.status().ike_sas}, "another IKE SA")
        pinging.await_replies()
    expect("lost pings", pinging.lost, [])
    expect("IKE SAs", len(lab.ikeclone.status().ike_sas), 1)
    expect("Child SAs", {row.serial for row in lab.ikeclone.traffic().values()}, children)
    for child in lab.strongswan.children():
        lab.strongswan.rekey_child(child.number)
    expect("replies after a rekey of Child SAs on it", lab.ping(), 2)
