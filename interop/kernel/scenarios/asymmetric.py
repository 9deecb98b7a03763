"""One side has 4 CPUs, the other 2: either opens clones; each CPU of both sends on its own, and rekeys lose nothing."""

from contextlib import ExitStack

from interop.kernel.lab import CPUS, KernelDaemon, KernelLab, PinnedPing, clones, up
from interop.kernel.states import sending
from interop.kernel.steps import expect_no_states, renew_children
from interop.lab import EAST, WEST, expect
from interop.swanctl import End

CLONES = {"clones": "yes"}
FEW = CPUS[:2]
LIMIT = 300


def run(lab: KernelLab) -> None:
    for few in (EAST, WEST):
        east = lab.ikeclone(EAST, CLONES, cpus=FEW if few is EAST else CPUS)
        west = lab.ikeclone(WEST, CLONES, cpus=FEW if few is WEST else CPUS)
        up(west)
        open_all(lab, west, few)
        rekey(lab, west, east, few)
        west.command("down", "gw")
        expect_no_states(lab)
        expect("exit codes", [west.stop(), east.stop()], [0, 0])


def open_all(lab: KernelLab, west: KernelDaemon, few: End) -> None:
    """Ping from each CPU of the kernel; those that the daemon of west has get a clone, the others have the fallback."""
    ours = FEW if few is WEST else CPUS
    for cpu in CPUS:
        expect(f"replies on CPU {cpu}", lab.ping(cpu), 1)
        if cpu in ours:
            lab.wait(lambda: cpu in clones(west), f"a clone for CPU {cpu}")  # noqa: B023  it is waited for at once
    await_senders(lab, few)
    for cpu in CPUS:
        expect(f"replies on CPU {cpu}", lab.ping(cpu, 2), 2)


def await_senders(lab: KernelLab, few: End) -> None:
    """Each side sends on one state for each CPU of its own, and on the fallback."""
    for end in (WEST, EAST):
        wanted = dict.fromkeys((None, *(FEW if few is end else CPUS)), 1)
        lab.wait(lambda: sending(lab.side(end)) == wanted, f"CPUs {list(wanted)} of {end.name} that send")  # noqa: B023


def rekey(lab: KernelLab, west: KernelDaemon, east: KernelDaemon, few: End) -> None:
    """Each side rekeys everything under a ping on every CPU; none is lost."""
    with ExitStack() as stack:
        pings = [stack.enter_context(PinnedPing(lab.west, cpu)) for cpu in CPUS]
        for daemon in (west, east):
            renew_children(lab, west, lambda: daemon.command("rekey", "gw"))  # noqa: B023  it is called at once
            await_senders(lab, few)
            for running in pings:
                running.await_replies()
    expect("lost pings", [running.lost for running in pings], [[] for _ in CPUS])
