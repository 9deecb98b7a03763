"""strongSwan is stopped and goes on later: ikeclone gives it up in time, and comes up with it again."""

import signal

from interop.lab import Lab, expect
from interop.scenarios.peer_vanishes import NOTICED, TIMES


def run(lab: Lab) -> None:
    lab.strongswan.start()
    lab.start_ikeclone(TIMES)
    lab.up()
    expect("replies", lab.ping(), 2)
    lab.strongswan.process.send_signal(signal.SIGSTOP)
    lab.wait(lambda: not lab.ikeclone.ike_sas(), "ikeclone without an IKE SA", NOTICED)
    lab.strongswan.process.send_signal(signal.SIGCONT)
    lab.up()
    expect("replies", lab.ping(), 2)
    lab.wait(lambda: len(lab.strongswan.ike_sas()) == 1, "strongSwan with one IKE SA")
