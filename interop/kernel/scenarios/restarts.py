"""ikeclone is killed on either side: the other side notices, and both come up again with clones."""

from interop.kernel.lab import KernelDaemon, KernelLab, clones, up
from interop.kernel.states import states
from interop.kernel.steps import expect_no_states
from interop.lab import EAST, expect

TIMES = {"clones": "yes", "dpddelay": "1s", "retransmit-interval": "200", "retransmit-timeout": "3s"}
NOTICED = 1 + 3 + 6  # seconds: silence, retransmissions, some patience


def run(lab: KernelLab) -> None:
    east = lab.ikeclone(EAST, TIMES)
    west = lab.ikeclone(settings=TIMES)
    for victim, other in ((east, west), (west, east)):
        tunnel_with_clone(lab, west)
        victim.process.kill()
        victim.process.wait()
        lab.wait(lambda: not other.ike_sas(), "the other side without an IKE SA", NOTICED)  # noqa: B023  waited for at once
        lab.wait(lambda: not states(other.namespace), "the other side without states")  # noqa: B023  likewise
        victim.start()
    tunnel_with_clone(lab, west)
    west.command("down", "gw")
    expect_no_states(lab)


def tunnel_with_clone(lab: KernelLab, west: KernelDaemon) -> None:
    """Bring the connection up, and a clone for CPU 1."""
    up(west)
    expect("replies", lab.ping(1, 2), 2)
    lab.wait(lambda: 1 in clones(west), "a clone")
