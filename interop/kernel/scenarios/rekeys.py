"""Every Child SA and the IKE SA are rekeyed by each side under a ping on each CPU: none is lost, each clone stays."""

from contextlib import ExitStack

from ikeclone.demo.daemons import DaemonProcess
from interop.kernel.lab import CPUS, KernelLab, PinnedPing, clones, up
from interop.kernel.states import states
from interop.lab import EAST, expect


def run(lab: KernelLab) -> None:
    east = lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    with ExitStack() as stack:
        pings = [stack.enter_context(PinnedPing(lab.west, cpu)) for cpu in CPUS]
        lab.wait(lambda: set(clones(west)) == set(CPUS), "a clone for each CPU")
        for daemon in (west, east):
            before = _all_sending(lab)
            children, ike = {row.serial for row in daemon.traffic().values()}, _ike(daemon)
            daemon.command("rekey", "gw")
            lab.wait(lambda: not children & {row.serial for row in daemon.traffic().values()}, "new Child SAs")  # noqa: B023
            daemon.command("rekey", "gw", "--ike")
            lab.wait(lambda: not ike & _ike(daemon), "another IKE SA")  # noqa: B023
            for running in pings:
                running.await_replies()
            expect("outbound states that stayed", before & _all_sending(lab), set())
    expect("lost pings", [running.lost for running in pings], [[] for _ in CPUS])


def _all_sending(lab: KernelLab) -> set[int]:
    """The SPIs that west sends on, when there is one for each CPU and the fallback's."""
    lab.wait(lambda: {None, *CPUS} == {state.cpu for state in states(lab.west) if state.sends}, "clones that send")
    return {state.spi for state in states(lab.west) if state.sends}


def _ike(daemon: DaemonProcess) -> set[int]:
    return {sa.serial for sa in daemon.ike_sas()}
