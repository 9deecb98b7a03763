"""Two Child SAs of one connection, the traffic of one within that of the other: packets that come by either are taken.

Those that come by none are not.
"""

from ikeclone.demo.pings import ping
from interop.kernel.lab import CPUS, KernelDaemon, KernelLab
from interop.kernel.states import states
from interop.lab import EAST, WEST, expect

NET, INNER = "192.0.3.0/24", "192.0.3.254"
WIDE = "192.0.2.0/23"
REPLIES = f"src {INNER}/32 dst {WEST.inner}/32 dir out"


def run(lab: KernelLab) -> None:
    lab.east.ip(f"address add {INNER}/24 dev lo")
    east = lab.ikeclone(EAST, {"rightsubnet": WIDE}, others={"narrow": {"rightsubnet": NET}})
    west = lab.ikeclone(settings={"rightsubnet": WIDE})
    for name in ("gw", "narrow"):
        east.command("up", name)
    expect("replies, and packets of each Child SA", received(lab, west), (3, {"gw": 0, "gw[1]": 3}))
    prefer_the_wide_one(lab)
    expect("replies, and packets of each Child SA", received(lab, west), (3, {"gw": 3, "gw[1]": 0}))
    before = {row.serial for row in west.traffic().values()}
    west.command("rekey", "gw")
    lab.wait(lambda: before.isdisjoint(row.serial for row in west.traffic().values()), "Child SAs that are rekeyed")
    expect("replies after a rekey", received(lab, west), (3, {"gw": 3, "gw[1]": 0}))
    west.command("down", "gw[1]")
    expect("replies after its end", received(lab, west), (3, {"gw": 3}))
    east.command("up", "narrow")
    lab.east.ip(f"xfrm policy update {REPLIES} priority 1 action allow")
    expect("replies in the clear", received(lab, west), (0, {"gw": 0, "gw[1]": 0}))
    expect("exit code", west.stop(), 0)
    expect("left behind", lab.leftovers(lab.west), "")


def prefer_the_wide_one(lab: KernelLab) -> None:
    """Have east send its replies by the Child SA that it has had for longer, whose reqid is the lower one."""
    reqid = min(state.reqid for state in states(lab.east) if state.sends)
    template = f"src {EAST.address} dst {WEST.address} proto esp reqid {reqid} mode tunnel"
    lab.east.ip(f"xfrm policy add {REPLIES} priority 1 tmpl {template}")


def received(lab: KernelLab, west: KernelDaemon) -> tuple[int, dict[str, int]]:
    """How many of three requests are answered, and what each connection has received meanwhile."""
    before = carried(west)
    replies = len(ping(lab.west, WEST.inner, INNER, 3, (CPUS[1],), 2))
    return replies, {name: packets - before[name] for name, packets in carried(west).items()}


def carried(west: KernelDaemon) -> dict[str, int]:
    return {row.connection: row.in_packets for row in west.traffic().values()}
