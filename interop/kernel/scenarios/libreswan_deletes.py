"""Child SA and IKE SA deleted by each side, ikeclone and Libreswan: who is asked to brings it up again, nobody else."""

from interop.kernel.lab import CPUS, KernelLab, up
from interop.kernel.steps import child_serials, expect_no_states, ike_serials
from interop.lab import expect


def run(lab: KernelLab) -> None:
    peer = lab.libreswan(auto="add")
    west = lab.ikeclone()
    for finish in (lambda: west.command("down", "gw"), peer.terminate):
        up(west)
        expect("replies", lab.ping(CPUS[0], 2), 2)
        finish()
        expect_no_states(lab)

    peer.initiate()
    before = ike_serials(west)
    west.command("down", "gw")
    lab.wait(
        lambda: west.ike_sas() and not before & ike_serials(west), "another IKE SA, as Libreswan was told to be up"
    )
    lab.wait(lambda: lab.ping(CPUS[0], patience=1), "a reply")
    peer.terminate()
    expect_no_states(lab)

    up(west)
    peer.delete_child(peer.children()[0].serial)
    lab.wait(lambda: not child_serials(west), "the end of the Child SA")
    expect("IKE SAs, without a Child SA", len(ike_serials(west)), 1)
    up(west)
    expect("replies", lab.ping(CPUS[0], 2), 2)
