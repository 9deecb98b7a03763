"""Two connections on one IKE SA, two children of one connection for strongSwan: either side opens the second one.

Rekeys by both sides leave each what it has, and ikeclone takes one down without the other.
"""

from interop.lab import Lab, expect

SUBNETS = "192.0.11.0/24", "192.0.12.0/24"


def run(lab: Lab) -> None:
    ours, theirs = SUBNETS
    lab.strongswan.start(second={"local_ts": theirs, "remote_ts": ours})
    lab.start_ikeclone(others={"second": {"leftsubnet": ours, "rightsubnet": theirs}})
    lab.up()
    lab.ikeclone.command("up", "second")
    expect_both(lab)
    rekey(lab)
    lab.ikeclone.command("down", "gw")
    expect("what is left", connections(lab), ["second"])
    expect("IKE SAs", len(lab.strongswan.ike_sas()), 1)
    lab.ikeclone.command("down", "second")
    lab.expect_nothing()
    lab.strongswan.initiate()
    lab.strongswan.initiate(child="second")
    expect_both(lab)
    rekey(lab)


def connections(lab: Lab) -> list[str]:
    return sorted(row.connection for row in lab.ikeclone.traffic().values())


def expect_both(lab: Lab) -> None:
    lab.wait(lambda: connections(lab) == ["gw", "second"], "a Child SA of each connection")
    expect("IKE SAs of ikeclone", len(lab.ikeclone.ike_sas()), 1)
    expect("IKE SAs of strongSwan", len(lab.strongswan.ike_sas()), 1)
    expect("replies", lab.ping(), 2)


def rekey(lab: Lab) -> None:
    for name in ("gw", "second"):
        lab.ikeclone.command("rekey", name)
    lab.strongswan.rekey_children()
    lab.ikeclone.command("rekey", "gw", "--ike")
    expect_both(lab)
