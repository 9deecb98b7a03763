"""mark-out= and priority=: only marked packets enter the tunnel, on clones too; a crash leaves nothing behind."""

from ikeclone.demo.namespaces import Namespace
from interop.kernel.lab import CPUS, KernelLab, clones, up
from interop.kernel.states import states
from interop.lab import EAST, WEST, expect

SETTINGS = {"clones": "yes", "mark-out": "0x5/0xff", "priority": "1234"}


def run(lab: KernelLab) -> None:
    east = lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings=SETTINGS)
    up(west)
    expect("policies with the priority", lab.west.ip("xfrm policy list nosock").count("priority 1234"), 3)
    expect("policies with the mark", lab.west.ip("xfrm policy list nosock").count("mark 0x5/0xff"), 1)
    expect("replies without the mark", _replies(lab.west, CPUS[1], 0), 0)
    expect("replies with another mark", _replies(lab.west, CPUS[1], 4), 0)
    expect("replies with the mark", _replies(lab.west, CPUS[1], 5), 1)
    lab.wait(lambda: CPUS[1] in clones(west), "a clone for the CPU")
    expect("replies on the clone", _replies(lab.west, CPUS[1], 0x105), 1)
    west.process.kill()
    west.process.wait()
    west.start()
    expect("what the next daemon finds", lab.leftovers(lab.west), "")
    up(west)
    expect("replies through the new tunnel", _replies(lab.west, CPUS[1], 5), 1)
    west.command("down", "gw")
    lab.wait(lambda: not states(lab.west) and not states(lab.east), "kernels without states")
    expect("exit codes", [west.stop(), east.stop()], [0, 0])
    expect("left behind", lab.leftovers(lab.west), "")


def _replies(west: Namespace, cpu: int, mark: int) -> int:
    """How many replies a ping with a mark of its own gets."""
    command = ["ping", "-n", "-c", "1", "-W", "1", "-m", str(mark), "-I", WEST.inner, EAST.inner]
    return west.run(*command, cpus=(cpu,), check=False).count("bytes from")
