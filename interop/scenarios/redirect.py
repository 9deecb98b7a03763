"""Each side sends the other to its second address: strongSwan an established ikeclone, which does so in IKE_AUTH.

The established IKE SA serves two connections, and so does the one that they then have at the other address.
"""

from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.tunnel import DEVICE
from interop.lab import EAST, WEST, Lab, expect, expect_in
from interop.scenarios.two_connections import SUBNETS, connections

OTHER_WEST, OTHER_EAST = "192.1.2.46", "192.1.2.24"


def run(lab: Lab) -> None:
    add_address(lab.west, OTHER_WEST)
    add_address(lab.east, OTHER_EAST)
    ours, theirs = SUBNETS
    second = {"local_ts": theirs, "remote_ts": ours}
    lab.strongswan.start(connection={"local_addrs": f"{EAST.address}, {OTHER_EAST}"}, second=second)
    accept = {"accept-redirect": "yes", "accept-redirect-to": OTHER_EAST}
    lab.start_ikeclone(accept, others={"second": {"leftsubnet": ours, "rightsubnet": theirs}})
    lab.up()
    lab.ikeclone.command("up", "second")
    expect_peer(lab, EAST.address)
    lab.strongswan.swanctl("--redirect", "--ike", "gw", "--gateway", OTHER_EAST)
    expect_peer(lab, OTHER_EAST)
    for name in ("gw", "second"):
        lab.ikeclone.command("down", name)
    lab.expect_nothing()
    away = {"send-redirect": "yes", "redirect-to": OTHER_WEST}
    lab.start_ikeclone(away, others={"second": {"left": OTHER_WEST, "send-redirect": "no"}})
    lab.strongswan.initiate()
    lab.wait(lambda: len(lab.strongswan.ike_sas()) == 1, "one IKE SA of strongSwan")
    expect("replies to east", lab.ping_back(), 2)
    expect("connections that are up", connections(lab), ["second"])
    expect_in("strongSwan's IKE SA", lab.strongswan.swanctl("--list-sas"), f"'{WEST.name}' @ {OTHER_WEST}")


def add_address(namespace: Namespace, address: str) -> None:
    namespace.run("ip", "address", "add", f"{address}/24", "dev", DEVICE)


def expect_peer(lab: Lab, address: str) -> None:
    """There is one IKE SA, with strongSwan at this address, which serves both connections, and pings go both ways."""
    lab.wait(lambda: [f"...{address}[" in sa.path for sa in lab.ikeclone.ike_sas()] == [True], f"IKE with {address}")
    lab.wait(lambda: len(lab.strongswan.ike_sas()) == 1, "one IKE SA of strongSwan")
    lab.wait(lambda: connections(lab) == ["gw", "second"], "a Child SA of each connection")
    expect("replies to west", lab.ping(), 2)
    expect("replies to east", lab.ping_back(), 2)
