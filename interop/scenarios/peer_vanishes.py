"""strongSwan is killed: ikeclone notices in time, takes everything down, and comes up with its successor."""

from interop.lab import Lab, expect

TIMES = {"dpddelay": "1s", "retransmit-interval": "200", "retransmit-timeout": "3s"}
NOTICED = 1 + 3 + 2  # seconds: silence, retransmissions, some patience


def run(lab: Lab) -> None:
    lab.strongswan.start()
    lab.start_ikeclone(TIMES)
    lab.up()
    expect("replies", lab.ping(), 2)
    lab.strongswan.kill()
    lab.wait(lambda: not lab.ikeclone.ike_sas(), "ikeclone without an IKE SA", NOTICED)
    expect("Child SAs", lab.ikeclone.traffic(), {})
    lab.strongswan.start()
    lab.up()
    expect("replies of its successor", lab.ping(), 2)
