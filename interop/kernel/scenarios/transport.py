"""Transport mode between the hosts themselves: IKE stays out of the SA, clones and rekeys work as in a tunnel."""

from ikeclone.demo.pings import ping
from interop.kernel.lab import CPUS, KernelLab, clones, up
from interop.kernel.states import states
from interop.lab import EAST, WEST, expect

SETTINGS = {"type": "transport", "clones": "yes", "leftsubnet": None, "rightsubnet": None}


def run(lab: KernelLab) -> None:
    lab.ikeclone(EAST, SETTINGS)
    west = lab.ikeclone(settings=SETTINGS)
    up(west)
    expect("mode", lab.west.ip("xfrm state").count("mode transport"), 2)
    for cpu in CPUS[:2]:
        expect(f"replies on CPU {cpu}", len(ping(lab.west, WEST.address, EAST.address, 2, (cpu,))), 2)
        lab.wait(lambda: cpu in clones(west), f"a clone for CPU {cpu}")  # noqa: B023  it is waited for at once
    before = {row.serial for row in west.traffic().values()}
    west.command("rekey", "gw")
    lab.wait(lambda: not before & {row.serial for row in west.traffic().values()}, "new Child SAs")
    expect("replies after the rekey", len(ping(lab.west, WEST.address, EAST.address, 2, (0,))), 2)
    west.command("down", "gw")
    lab.wait(lambda: not states(lab.west) and not states(lab.east), "kernels without states")
