"""A user on the road by the kernel's IPsec: its address inside the tunnel, with clones, for all that it sends.

A daemon that is killed leaves an address, which its successor takes away.
"""

from ikeclone.demo.pings import ping
from interop.kernel.lab import CPUS, KernelLab, clones, up
from interop.kernel.states import states
from interop.lab import EAST, expect

LIMIT = 300
INSIDE, EVERYTHING = "10.3.0.1", "0.0.0.0/0"
GATEWAY = {
    "left": "%any",
    "leftsubnet": None,
    "leftaddresspool": "10.3.0.0/24",
    "rightsubnet": EVERYTHING,
    "modecfgdns": "192.0.2.53",
    "clones": "yes",
}
WARRIOR = {"leftsubnet": None, "leftmodecfgclient": "yes", "rightsubnet": EVERYTHING, "clones": "yes"}


def run(lab: KernelLab) -> None:
    east, west = lab.ikeclone(EAST, GATEWAY), lab.ikeclone(settings=WARRIOR)
    up(west)
    (row,) = west.status().connections
    expect("addresses and name servers", (row.addresses, row.dns), ([INSIDE], ["192.0.2.53"]))
    (pool,) = east.status().pools
    expect("leases", pool.leases, {INSIDE: "@west"})
    for cpu in CPUS[:2]:
        expect(f"replies on CPU {cpu}", len(ping(lab.west, INSIDE, EAST.inner, cpus=(cpu,))), 1)
        lab.wait(lambda: cpu in clones(west), f"a clone for CPU {cpu}")  # noqa: B023  it is waited for at once
    expect("replies to east", len(ping(lab.east, EAST.inner, INSIDE)), 1)
    for how in ((), ("--reauth",)):
        west.command("rekey", "gw", *how)
        expect(f"replies after rekey {how}", len(ping(lab.west, INSIDE, EAST.inner)), 1)
    west.process.kill()
    west.process.wait()
    expect("what a killed daemon leaves", _addresses(lab), [INSIDE])
    west.start()
    expect("what the next one leaves of it", _addresses(lab), [])
    up(west)
    expect("leases", east.status().pools[0].leases, {INSIDE: "@west"})
    west.command("down", "gw")
    lab.wait(lambda: not states(lab.west) and not states(lab.east), "kernels without states")
    lab.wait(lambda: not _addresses(lab) and not east.status().pools[0].leases, "the end of the address and its lease")


def _addresses(lab: KernelLab) -> list[str]:
    lines = lab.west.ip("-oneline address show to 10.3.0.0/24").splitlines()
    return [line.split()[3].partition("/")[0] for line in lines]
