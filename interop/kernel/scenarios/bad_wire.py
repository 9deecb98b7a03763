"""50 ms of delay and 5 % loss each way: the connection comes up, rekeys lose no ping that the wire does not lose."""

import json

from ikeclone.demo.tunnel import DEVICE
from interop.kernel.lab import CPUS, KernelLab, PinnedPing, clones, up
from interop.kernel.steps import renew_children, renew_ike
from interop.lab import EAST, expect

NETEM = "delay 50ms loss 5%"
PATIENCE = 60  # seconds: a message may have to be sent several times


def run(lab: KernelLab) -> None:
    east = lab.ikeclone(EAST, {"clones": "yes"})
    west = lab.ikeclone(settings={"clones": "yes"})
    for side in (lab.west, lab.east):
        side.run("tc", "qdisc", "replace", "dev", DEVICE, "root", "netem", *NETEM.split())
    up(west)
    before = dropped(lab)
    with PinnedPing(lab.west, CPUS[1]) as running:
        lab.wait(lambda: CPUS[1] in clones(west), "a clone", PATIENCE)
        for daemon in (west, east):
            for _ in range(3):
                renew_children(lab, west, lambda: daemon.command("rekey", "gw"), PATIENCE)  # noqa: B023  called at once
                renew_ike(lab, west, lambda: daemon.command("rekey", "gw", "--ike"), PATIENCE)  # noqa: B023  likewise
        running.await_replies(50, PATIENCE)
    # A ping is lost with one packet, its own or its reply's; the wire dropped messages of IKE besides.
    drops = dropped(lab) - before
    expect(f"pings lost: {len(running.lost)}, packets dropped: {drops}; no more", len(running.lost) <= drops, True)
    expect("without NoStates", unknown(lab), 0)


def dropped(lab: KernelLab) -> int:
    """How many packets the wire has dropped, both ways."""
    command = ("tc", "-s", "-j", "qdisc", "show", "dev", DEVICE, "root")
    return sum(json.loads(side.run(*command))[0]["drops"] for side in (lab.west, lab.east))


def unknown(lab: KernelLab) -> int:
    """How many packets came to either side on SAs that it did not have."""
    command = ("awk", "/XfrmInNoStates/ {print $2}", "/proc/net/xfrm_stat")
    return sum(int(side.run(*command)) for side in (lab.west, lab.east))
