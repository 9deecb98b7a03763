"""Libreswan makes Child SAs that there are already: all are kept, the newest sends, the oldest is taken down first."""

from ikeclone.demo.pings import RunningPing
from interop.kernel.lab import CPUS, KernelLab, PinnedPing, up
from interop.kernel.states import KernelState, states
from interop.kernel.steps import child_serials, expect_no_states
from interop.lab import expect

DUPLICATES = 3


def run(lab: KernelLab) -> None:
    peer = lab.libreswan(auto="add")
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    with PinnedPing(lab.west, CPUS[1]) as running:
        for number in range(1, 1 + DUPLICATES):
            peer.initiate()
            lab.wait(lambda: len(peer.children()) == 1 + number, "another Child SA of Libreswan's")  # noqa: B023
            expect("Child SAs of ikeclone", len(child_serials(west)), 1 + number)
            # Until Libreswan has had time to receive on it, there is none that sends.
            lab.wait(lambda: len(outbound(lab)) == 1 + number, "its state that sends")  # noqa: B023
            expect_newest_sends(lab, running)
        for left in range(DUPLICATES, 0, -1):
            peer.delete_child(peer.children()[0].serial)
            lab.wait(lambda: len(child_serials(west)) == left, "one Child SA fewer")  # noqa: B023
            expect_newest_sends(lab, running)
    expect("lost pings", running.lost, [])
    peer.initiate()
    west.command("down", "gw")
    lab.wait(lambda: west.ike_sas(), "Libreswan, which was told to be up")
    peer.terminate()
    expect_no_states(lab)


def expect_newest_sends(lab: KernelLab, running: RunningPing) -> None:
    """Of west's SAs only the one that was made last sends."""
    running.await_replies(3)
    before = outbound(lab)
    running.await_replies(5)
    packets = {state.spi: state.packets for state in outbound(lab)}
    # One that was just deleted may go from the kernel meanwhile.
    moved = [state.spi for state in before if packets.get(state.spi, 0) > state.packets]
    expect("SAs that send", moved, [before[0].spi])
    expect("CPUs that they are bound to", {state.cpu for state in before}, {None})


def outbound(lab: KernelLab) -> list[KernelState]:
    """West's states that send, the newest first."""
    return [state for state in states(lab.west) if state.sends]
