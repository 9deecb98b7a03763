"""auto=ondemand with a peer that takes one network at a time: packets open a Child SA for each, gw[1] and gw[2].

What it refuses holds the rest back no longer than what it takes.

The policies that wait for packets and those of the Child SAs are the same to the kernel: each goes and comes back.
"""

from ikeclone.demo.pings import ping
from interop.kernel.lab import CPUS, KernelDaemon, KernelLab
from interop.lab import EAST, WEST, expect

NET, INNER = "192.0.3.0/24", "192.0.3.254"
REFUSED, NOBODY = "192.0.5.0/24", "192.0.5.254"
# The kernel asks once and waits for an answer; left alone, it would ask no more for net.core.xfrm_acq_expires, 30 s.
PATIENCE = 10


def run(lab: KernelLab) -> None:
    lab.east.ip(f"address add {INNER}/24 dev lo")
    east = lab.ikeclone(EAST, others={"second": {"rightsubnet": NET}})
    west = lab.ikeclone(settings={"rightsubnet": f"{EAST.net},{NET},{REFUSED}", "auto": "ondemand"})
    lab.wait(lambda: replies(lab, INNER), "a reply from the second network")
    expect("connections", names(west), ["gw[1]"])
    expect("replies from a network that east has not", replies(lab, NOBODY), 0)
    lab.wait(lambda: replies(lab, EAST.inner), "a reply from the first network", PATIENCE)
    expect("connections", names(west), ["gw[1]", "gw[2]"])
    expect("replies", (replies(lab, INNER, 3), replies(lab, EAST.inner, 3)), (3, 3))
    before = {row.serial for row in west.traffic().values()}
    west.command("rekey", "gw")
    lab.wait(lambda: before.isdisjoint(row.serial for row in west.traffic().values()), "Child SAs that are rekeyed")
    expect("replies", (replies(lab, INNER, 3), replies(lab, EAST.inner, 3)), (3, 3))
    east.command("down", "second")
    lab.wait(lambda: names(west) == ["gw[2]"], "the end of gw[1]")
    lab.wait(lambda: replies(lab, INNER), "a reply from the second network again", PATIENCE)
    expect("connections", names(west), ["gw[1]", "gw[2]"])
    west.command("down", "gw")
    lab.wait(lambda: not east.traffic(), "the end of all")
    lab.wait(lambda: replies(lab, EAST.inner), "a reply after that", PATIENCE)
    expect("exit code", west.stop(), 0)
    expect("left behind", lab.leftovers(lab.west), "")


def names(daemon: KernelDaemon) -> list[str]:
    return sorted(row.connection for row in daemon.traffic().values())


def replies(lab: KernelLab, target: str, count: int = 1) -> int:
    return len(ping(lab.west, WEST.inner, target, count, (CPUS[1],), 2))
