"""X25519 and ML-KEM-768 for the IKE SA, in IKE_INTERMEDIATE; either side initiates, and pings go both ways."""

from interop.lab import Lab, expect_in
from interop.steps import both_initiate

PROPOSAL = "aes128gcm16-prfsha256-x25519-ke1_mlkem768"


def run(lab: Lab) -> None:
    lab.strongswan.start(connection={"proposals": PROPOSAL})
    lab.start_ikeclone({"ike": PROPOSAL})
    both_initiate(lab)
    expect_in("strongSwan's log", lab.strongswan.log(), "KE1_ML_KEM_768")
