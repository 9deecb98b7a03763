"""strongSwan rekeys the fallback and the clones under traffic: each stays on its CPU, no packet is lost."""

from interop.lab import Lab, cpus, expect
from interop.scenarios.clones import open_clones


def run(lab: Lab) -> None:
    ours = cpus()[:2]
    open_clones(lab, ours)
    before = {row.serial for row in lab.ikeclone.traffic().values()}
    with lab.pinging() as pinging:
        pinging.await_replies()
        for child in lab.strongswan.children():
            lab.strongswan.rekey_child(child.number)
        lab.wait(
            lambda: not before & {row.serial for row in lab.ikeclone.traffic().values()},
            "new SAs for old ones",
        )
        pinging.await_replies()
    expect("lost pings", pinging.lost, [])
    rows = lab.ikeclone.traffic().values()
    expect("CPUs", {row.cpu for row in rows}, {None, *ours})
    expect("Child SAs of strongSwan", len(lab.strongswan.children()), len(rows))
