"""ikeclone and Libreswan without authentication (RFC 7619), each initiating: both are nobody."""

from interop.kernel.lab import CPUS, KernelLab, up
from interop.kernel.steps import expect_no_states, renew_ike
from interop.lab import EAST, expect

NOBODY = {"authby": "null", "leftid": "%null", "rightid": "%null"}


def run(lab: KernelLab) -> None:
    peer = lab.libreswan(EAST, auto="add", **NOBODY)
    west = lab.ikeclone(settings=NOBODY | {"leftid": None, "rightid": None})
    up(west)
    expect_pings(lab)
    (sa,) = west.ike_sas()
    expect("who they are", (sa.local_id, sa.remote_id), ("%null", "%null"))
    renew_ike(lab, west, lambda: west.command("rekey", "gw", "--ike"))
    expect_pings(lab)
    west.command("down", "gw")
    expect_no_states(lab)
    peer.initiate()
    expect_pings(lab)
    peer.terminate()
    expect_no_states(lab)


def expect_pings(lab: KernelLab) -> None:
    expect("replies", lab.ping(CPUS[1], 2), 2)
