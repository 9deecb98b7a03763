"""ikeclone rekeys the IKE SA under traffic: its Child SAs move over, no packet is lost, the new one works."""

from interop.lab import Lab, cpus, expect
from interop.scenarios.clones import open_clones


def run(lab: Lab) -> None:
    open_clones(lab, cpus()[:2])
    children = {row.serial for row in lab.ikeclone.traffic().values()}
    [old] = lab.strongswan.ike_sas()
    with lab.pinging() as pinging:
        pinging.await_replies()
        lab.ikeclone.command("rekey", "gw", "--ike")
        lab.wait(lambda: old not in lab.strongswan.ike_sas(), "strongSwan without the old IKE SA")
        pinging.await_replies()
    expect("lost pings", pinging.lost, [])
    expect("strongSwan's IKE SAs", list(lab.strongswan.ike_sas().values()), ["ESTABLISHED"])
    expect("Child SAs", {row.serial for row in lab.ikeclone.traffic().values()}, children)
    lab.ikeclone.command("rekey", "gw")
    expect("replies after a rekey of Child SAs on it", lab.ping(), 2)
