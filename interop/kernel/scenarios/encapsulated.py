"""ESP in UDP, by the kernel: clones and a rekey under a ping."""

from interop.kernel.lab import CPUS, KernelLab, PinnedPing, clones, up
from interop.kernel.states import states
from interop.lab import EAST, expect

SETTINGS = {"clones": "yes", "encapsulation": "yes"}


def run(lab: KernelLab) -> None:
    east = lab.ikeclone(EAST, SETTINGS)
    west = lab.ikeclone(settings=SETTINGS)
    up(west)
    expect("states with UDP", lab.west.ip("xfrm state").count("encap type espinudp sport 4500 dport 4500"), 2)
    expect("replies", lab.ping(CPUS[1], 2), 2)
    lab.wait(lambda: CPUS[1] in clones(west), "a clone")
    with PinnedPing(lab.west, CPUS[1]) as running:
        before = {row.serial for row in west.traffic().values()}
        west.command("rekey", "gw")
        lab.wait(lambda: not before & {row.serial for row in west.traffic().values()}, "new Child SAs")
        running.await_replies()
    expect("lost pings", running.lost, [])
    west.command("down", "gw")
    lab.wait(lambda: not states(lab.west) and not states(lab.east), "kernels without states")
    expect("exit codes", [west.stop(), east.stop()], [0, 0])
