"""auto=ondemand: the first packet brings the connection up; states that somebody flushes are made anew."""

from interop.kernel.lab import CPUS, KernelLab, clones
from interop.kernel.states import states
from interop.lab import EAST, expect


def run(lab: KernelLab) -> None:
    lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings={"clones": "yes", "auto": "ondemand"})
    expect("states before", states(lab.west), [])
    lab.ping(CPUS[1], patience=1)
    lab.wait(lambda: len(west.traffic()) == 1, "the fallback")
    lab.wait(lambda: lab.ping(CPUS[1]), "a reply")
    lab.wait(lambda: CPUS[1] in clones(west), "a clone")
    before = {row.serial for row in west.traffic().values()}
    lab.west.ip("xfrm state flush")
    lab.wait(lambda: not before & {row.serial for row in west.traffic().values()}, "the end of what was flushed")
    lab.wait(lambda: lab.ping(CPUS[1], patience=1), "a reply after the flush")
    lab.west.ip("xfrm policy flush")
    lab.wait(lambda: lab.ping(CPUS[1], patience=1), "a reply after the policies were flushed")
    expect("exit code", west.stop(), 0)
    expect("left behind", lab.leftovers(lab.west), "")
