"""ikeclone and Libreswan, each initiating: one regular SA for every CPU, rekeys of everything by each side."""

from interop.kernel.lab import CPUS, KernelDaemon, KernelLab, PinnedPing, up
from interop.kernel.libreswan import Libreswan
from interop.kernel.states import states
from interop.kernel.steps import expect_no_states, renew_children, renew_ike
from interop.lab import expect
from interop.steps import PING


def run(lab: KernelLab) -> None:
    peer = lab.libreswan(auto="add")
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    one_sa_for_all(lab, west, peer)
    rekey_by_both(lab, west, peer)
    west.command("down", "gw")
    expect_nothing(lab, west, peer)
    peer.initiate()
    one_sa_for_all(lab, west, peer)
    rekey_by_both(lab, west, peer)
    peer.terminate()
    expect_nothing(lab, west, peer)


def one_sa_for_all(lab: KernelLab, west: KernelDaemon, peer: Libreswan) -> None:
    """Pings on each CPU of a fresh tunnel, all of them on the one SA that both sides have."""
    for cpu in CPUS:
        expect(f"replies on CPU {cpu}", lab.ping(cpu, 2), 2)
    octets = len(CPUS) * 2 * PING
    ours = [(row.name, row.cpu, row.in_bytes, row.out_bytes) for row in west.traffic().values()]
    expect("ikeclone's Child SAs", ours, [("gw", None, octets, octets)])
    expect("Libreswan's Child SAs", [(sa.in_octets, sa.out_octets) for sa in peer.children()], [(octets, octets)])
    expect("CPUs of west's states", [state.cpu for state in states(lab.west)], [None, None])


def rekey_by_both(lab: KernelLab, west: KernelDaemon, peer: Libreswan) -> None:
    """Each side rekeys the Child SA, the IKE SA, and the Child SA again on the new one.

    No ping is lost but those that Libreswan answers on an SA in the moment before its response about it is here:
    it does not wait for the proof that we have the SA.
    """
    early = unknown(lab)
    with PinnedPing(lab.west, CPUS[1]) as running:
        running.await_replies()
        renew_children(lab, west, peer.rekey_child)
        renew_ike(lab, west, peer.rekey_ike)
        renew_children(lab, west, peer.rekey_child)
        expect("packets on unknown SAs while Libreswan rekeys", unknown(lab), early)
        renew_children(lab, west, lambda: west.command("rekey", "gw"))
        renew_ike(lab, west, lambda: west.command("rekey", "gw", "--ike"))
        renew_children(lab, west, lambda: west.command("rekey", "gw"))
        running.await_replies()
    early = unknown(lab) - early
    expect("lost pings", len(running.lost), early)
    expect("one at most in each of our rekeys", early <= 2, True)


def unknown(lab: KernelLab) -> int:
    """How many packets came to west on SAs that it did not have (yet)."""
    return int(lab.west.run("awk", "/XfrmInNoStates/ {print $2}", "/proc/net/xfrm_stat"))


def expect_nothing(lab: KernelLab, west: KernelDaemon, peer: Libreswan) -> None:
    """Neither side has an SA."""
    expect_no_states(lab)
    lab.wait(lambda: not west.ike_sas() and not peer.ike_sas(), "both sides without an IKE SA")
