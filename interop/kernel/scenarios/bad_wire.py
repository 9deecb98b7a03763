"""50 ms of delay and 5 % loss each way: the connection comes up, and rekeys lose no more than the wire does."""

from ikeclone.demo.tunnel import DEVICE
from interop.kernel.lab import CPUS, KernelLab, PinnedPing, clones, up
from interop.kernel.steps import renew_children, renew_ike
from interop.lab import EAST, expect

NETEM = "delay 50ms loss 5%"
MOST = 0.2  # twice what the wire loses of pings and their replies


def run(lab: KernelLab) -> None:
    east = lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings={"clones": "yes"})
    for side in (lab.west, lab.east):
        side.run("tc", "qdisc", "replace", "dev", DEVICE, "root", "netem", *NETEM.split())
    up(west)
    with PinnedPing(lab.west, CPUS[1]) as running:
        lab.wait(lambda: CPUS[1] in clones(west), "a clone")
        for daemon in (west, east):
            for _ in range(3):
                renew_children(lab, west, lambda: daemon.command("rekey", "gw"))  # noqa: B023  it is called at once
                renew_ike(lab, west, lambda: daemon.command("rekey", "gw", "--ike"))  # noqa: B023  likewise
        running.await_replies(50, 20)
    sent = running.replies + len(running.lost)
    expect(f"{len(running.lost)} of {sent} pings lost is what the wire does", len(running.lost) < MOST * sent, True)
    expect("without NoStates", unknown(lab), 0)


def unknown(lab: KernelLab) -> int:
    """How many packets came to either side on SAs that it did not have."""
    command = ("awk", "/XfrmInNoStates/ {print $2}", "/proc/net/xfrm_stat")
    return sum(int(side.run(*command)) for side in (lab.west, lab.east))
