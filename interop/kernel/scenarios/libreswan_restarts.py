"""Libreswan is ended, then killed; its successor comes up with us, and so do we with it."""

from interop.kernel.lab import CPUS, KernelLab, up
from interop.lab import expect

TIMES = {"dpddelay": "1s", "retransmit-interval": "200", "retransmit-timeout": "3s"}
NOTICED = 1 + 3 + 4  # seconds: silence, retransmissions, some patience


def run(lab: KernelLab) -> None:
    peer = lab.libreswan(auto="add")
    west = lab.ikeclone(settings=TIMES)
    up(west)
    peer.whack("--shutdown")
    peer.process.wait(10)
    lab.wait(lambda: not west.ike_sas(), "ikeclone without an IKE SA")
    peer.start()
    peer.initiate()
    expect("replies of its successor", lab.ping(CPUS[0], 2), 2)
    peer.kill()
    lab.wait(lambda: not west.ike_sas(), "ikeclone without an IKE SA", NOTICED)
    expect("Child SAs", west.traffic(), {})
    peer.start()
    up(west)
    expect("replies after the second restart", lab.ping(CPUS[0], 2), 2)
