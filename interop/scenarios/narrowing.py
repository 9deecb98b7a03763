"""auto=ondemand with strongSwan, which has two children for one network each: packets open both, gw[1] and gw[2].

strongSwan goes by the order of its children, not by the packet's selectors: then it is asked for those alone.
"""

from interop.lab import EAST, WEST, Lab, expect

NET, INNER = "192.0.3.0/24", "192.0.3.254"


def run(lab: Lab) -> None:
    lab.east.ip(f"address add {INNER}/24 dev lo")
    lab.strongswan.start(second={"local_ts": NET, "remote_ts": WEST.net})
    lab.start_ikeclone({"rightsubnet": f"{EAST.net},{NET}", "auto": "ondemand"})
    lab.wait(lambda: lab.ping_between(WEST.inner, INNER) == [2, 2], "replies from the second network", 60)
    lab.wait(lambda: lab.ping_between(WEST.inner, EAST.inner) == [2, 2], "replies from the first network", 60)
    expect("connections", sorted(row.connection for row in lab.ikeclone.traffic().values()), ["gw[1]", "gw[2]"])
    expect("IKE SAs", len(lab.strongswan.ike_sas()), 1)
    lab.ikeclone.command("down", "gw")
    lab.expect_nothing()
