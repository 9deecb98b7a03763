"""A road warrior gets an address, name servers and domains: ikeclone from Libreswan, then Libreswan from ikeclone."""

from ikeclone.demo.pings import ping
from interop.kernel.lab import KernelLab, up
from interop.kernel.steps import expect_no_states
from interop.lab import EAST, WEST, expect, expect_in

POOL, INSIDE = "10.3.0.1-10.3.0.9", "10.3.0.1"
SERVERS, DOMAINS = ["192.0.2.53", "192.0.2.54"], ["example.org", "lab"]
GIVEN = {"modecfgdns": f'"{" ".join(SERVERS)}"', "modecfgdomains": f'"{" ".join(DOMAINS)}"'}


def run(lab: KernelLab) -> None:
    lab.east.ip(f"route add 10.3.0.0/24 via {WEST.address} src {EAST.inner}")
    from_libreswan(lab)
    from_ikeclone(lab)


def from_libreswan(lab: KernelLab) -> None:
    server = {"right": "%any", "rightsubnet": None, "rightaddresspool": POOL, "leftmodecfgserver": "yes", **GIVEN}
    peer = lab.libreswan(EAST, auto="add", rightmodecfgclient="yes", narrowing="yes", **server)
    west = lab.ikeclone(settings={"leftsubnet": None, "leftmodecfgclient": "yes"})
    up(west)
    (row,) = west.status().connections
    expect("what Libreswan gives", (row.addresses, row.dns, row.domains), ([INSIDE], SERVERS, DOMAINS))
    expect_pings(lab)
    west.command("down", "gw")
    expect_no_states(lab)
    expect("exit code", west.stop(), 0)
    peer.kill()


def from_ikeclone(lab: KernelLab) -> None:
    east = lab.ikeclone(EAST, {"left": "%any", "leftsubnet": None, "leftaddresspool": POOL, **GIVEN})
    client = {"leftsubnet": "0.0.0.0/0", "leftmodecfgclient": "yes"}
    peer = lab.libreswan(WEST, auto="add", narrowing="yes", rightmodecfgserver="yes", **client)
    peer.initiate()
    (pool,) = east.status().pools
    expect("leases", pool.leases, {INSIDE: "@west"})
    for given in (*SERVERS, *DOMAINS):
        expect_in("Libreswan's log", peer.log(), f"{given}\n")
    expect_pings(lab)
    peer.terminate()
    expect_no_states(lab)


def expect_pings(lab: KernelLab) -> None:
    expect("replies to west", len(ping(lab.west, INSIDE, EAST.inner, 2)), 2)
    expect("replies to east", len(ping(lab.east, EAST.inner, INSIDE, 2)), 2)
