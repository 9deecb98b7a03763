"""Somebody takes states and policies of a live tunnel out of the kernel: that is told, and it comes back by itself."""

from interop.kernel.lab import KernelDaemon, KernelLab, clones, up
from interop.kernel.states import KernelState, states
from interop.kernel.steps import child_serials
from interop.lab import EAST, WEST, expect

CPU = 1
SELECTOR = f"src {WEST.net} dst {EAST.net}"


def run(lab: KernelLab) -> None:
    lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    carries(lab, west)
    everything = len(child_serials(west))
    before = policies(lab)
    lose(lab, west, "somebody flushed the kernel's states", everything, "xfrm state flush")
    one = f"{WEST.address} dst {EAST.address} proto esp spi {clone(lab).spi:#x}"
    lose(lab, west, "somebody deleted states in the kernel", 1, f"xfrm state delete src {one}")
    lose(lab, west, "somebody flushed the kernel's policies", 0, "xfrm policy flush")
    lose(lab, west, "gw: somebody deleted a policy in the kernel", 0, f"xfrm policy delete {SELECTOR} dir out")
    everything = len(child_serials(west))
    lose(lab, west, "somebody flushed the kernel's", everything, "xfrm state flush", "xfrm policy flush")
    expect("policies at the end", policies(lab), before)


def lose(lab: KernelLab, west: KernelDaemon, said: str, lost: int, *commands: str) -> None:
    """Have somebody change the kernel: that is said, so many Child SAs are lost by it, and made anew."""
    told, before = west.log.stat().st_size, child_serials(west)
    for command in commands:
        lab.west.ip(command)
    lab.wait(lambda: f"WARNING {said}" in west.log.read_text()[told:], f"a word of {commands}")
    lab.wait(lambda: len(before - child_serials(west)) >= lost, f"the end of {lost} Child SAs")
    carries(lab, west)
    expect(f"Child SAs lost by {commands}", len(before - child_serials(west)), lost)


def carries(lab: KernelLab, west: KernelDaemon) -> None:
    """The tunnel has its fallback and a clone for the CPU that sends, and neither side has anything else."""
    lab.wait(lambda: lab.ping(CPU, patience=1), "a reply")
    lab.wait(lambda: CPU in clones(west) and west.settled("gw"), "the clone")
    lab.wait(lambda: len(states(lab.west)) == len(states(lab.east)) == 2 * len(child_serials(west)), "all states")
    before = clone(lab)
    expect("replies", lab.ping(CPU, 2), 2)
    expect("packets on the clone", clone(lab).packets - before.packets, 2)


def policies(lab: KernelLab) -> list[str]:
    """What makes up west's policies, but for their reqids."""
    lines = lab.west.ip("xfrm policy list nosock").splitlines()
    return sorted(line for line in lines if "reqid" not in line)


def clone(lab: KernelLab) -> KernelState:
    """The state that sends on that CPU: the newest."""
    return next(state for state in states(lab.west) if state.sends and state.cpu == CPU)
