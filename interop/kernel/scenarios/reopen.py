"""A clone that nobody uses is deleted; traffic on its CPU, and only that, opens it again, and no ping is lost."""

from interop.kernel.lab import KernelLab, PinnedPing, clones, up
from interop.lab import EAST, expect

IDLE, BUSY = 1, 2  # CPUs


def run(lab: KernelLab) -> None:
    lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings={"clones": "yes", "clones-idle": "4s"})
    up(west)
    with PinnedPing(lab.west, BUSY) as busy:
        for _ in range(2):
            with PinnedPing(lab.west, IDLE) as running:
                lab.wait(lambda: {IDLE, BUSY} <= set(clones(west)), "a clone for each CPU that sends")
                running.await_replies()
            expect("lost pings on the CPU whose clone comes", running.lost, [])
            lab.wait(lambda: IDLE not in clones(west), "the end of the idle clone", 20)
            expect("clone of the busy CPU", BUSY in clones(west), True)
        busy.await_replies()
    expect("lost pings on the busy CPU", busy.lost, [])
