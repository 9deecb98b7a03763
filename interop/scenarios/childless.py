"""IKE SAs without a Child SA, which follows by CREATE_CHILD_SA and carries pings; either side initiates."""

from interop.lab import Lab, expect, expect_in
from interop.steps import both_initiate


def run(lab: Lab) -> None:
    lab.strongswan.start(connection={"childless": "force"})
    lab.start_ikeclone({"childless": "force"})
    both_initiate(lab)
    log = lab.strongswan.log()
    expect_in("strongSwan's log", log, "N(CHDLESS_SUP)")
    auths = [line for line in log.splitlines() if "IKE_AUTH" in line and "[ IDi" in line]
    expect("IKE_AUTH requests with a Child SA", [line for line in auths if " SA TSi" in line], [])
