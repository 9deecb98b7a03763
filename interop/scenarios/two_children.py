"""One connection of ours, two children of strongSwan's for other networks each: the second has a part of it, gw[1].

Packets of both cross both ways, rekeys by either side leave each what it has, and each ends alone or with the other.
"""

from interop.lab import EAST, WEST, Lab, expect

NET, INNER = "192.0.3.0/24", "192.0.3.254"
BOTH = ["gw", "gw[1]"]


def run(lab: Lab) -> None:
    lab.east.ip(f"address add {INNER}/24 dev lo")
    lab.strongswan.start(second={"local_ts": NET, "remote_ts": WEST.net})
    lab.start_ikeclone({"rightsubnet": "192.0.2.0/23"})
    lab.strongswan.initiate()
    lab.strongswan.initiate(child="second")
    expect_both(lab)
    rekey(lab)
    lab.strongswan.swanctl("--terminate", "--child", "second")
    expect_children(lab, ["gw"])
    expect("networks", ping(lab), [2, 2, 0, 0])
    lab.strongswan.initiate(child="second")
    expect_both(lab)
    lab.ikeclone.command("down", "gw[1]")
    expect_children(lab, ["gw"])
    lab.strongswan.initiate(child="second")
    lab.strongswan.swanctl("--terminate", "--child", "net")
    expect_children(lab, ["gw[1]"])
    expect("the second network", lab.ping_between(WEST.inner, INNER), [2, 2])
    lab.strongswan.initiate()
    expect_both(lab)
    lab.ikeclone.command("down", "gw")
    lab.expect_nothing()


def connections(lab: Lab) -> list[str]:
    return sorted(row.connection for row in lab.ikeclone.traffic().values())


def serials(lab: Lab) -> set[int]:
    return {row.serial for row in lab.ikeclone.traffic().values()}


def expect_children(lab: Lab, wanted: list[str]) -> None:
    lab.wait(lambda: connections(lab) == wanted, f"Child SAs of {wanted}")
    expect("IKE SAs", (len(lab.ikeclone.ike_sas()), len(lab.strongswan.ike_sas())), (1, 1))


def expect_both(lab: Lab) -> None:
    expect_children(lab, BOTH)
    expect("networks", ping(lab), [2, 2, 2, 2])


def ping(lab: Lab) -> list[int]:
    return lab.ping_between(WEST.inner, EAST.inner) + lab.ping_between(WEST.inner, INNER)


def rekey(lab: Lab) -> None:
    before = serials(lab)
    for child in ("net", "second"):
        lab.strongswan.swanctl("--rekey", "--child", child)
    lab.wait(lambda: before.isdisjoint(serials(lab)), "Child SAs that strongSwan has rekeyed")
    expect_both(lab)
    before = serials(lab)
    lab.ikeclone.command("rekey", "gw")
    lab.wait(lambda: before.isdisjoint(serials(lab)), "Child SAs that we have rekeyed")
    lab.ikeclone.command("rekey", "gw", "--ike")
    lab.strongswan.rekey_ike()
    expect_both(lab)
