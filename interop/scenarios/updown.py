"""leftupdown= sees strongSwan bring the connection up and take it down: each step once; clones and rekeys are none."""

from interop.lab import EAST, WEST, Lab, expect
from interop.steps import open_clones

STEPS = ["prepare-client", "route-client", "up-client", "down-client", "unroute-client"]
SCRIPT = '#!/bin/sh\necho "$PLUTO_VERB $PLUTO_ME $PLUTO_PEER $PLUTO_MY_CLIENT $PLUTO_PEER_CLIENT $PLUTO_PEER_ID" >>{}\n'


def run(lab: Lab) -> None:
    script, record = (lab.logs / name for name in ("updown", "updown.record"))
    script.write_text(SCRIPT.format(record))
    script.chmod(0o755)
    record.touch()
    told = [f"{step} {WEST.address} {EAST.address} {WEST.net} {EAST.net} @east" for step in STEPS]
    open_clones(lab, {"leftupdown": str(script)})
    lab.strongswan.rekey_children()
    lab.wait(lambda: record.read_text().splitlines() == told[:3], "the steps up")
    lab.strongswan.terminate_ike()
    lab.expect_nothing()
    lab.wait(lambda: record.read_text().splitlines() == told, "the steps down")
    lab.strongswan.initiate()
    lab.wait(lambda: record.read_text().splitlines() == told + told[:3], "the steps up again")
    expect("exit code", lab.ikeclone.stop(), 0)
    expect("all steps", record.read_text().splitlines(), told + told)
