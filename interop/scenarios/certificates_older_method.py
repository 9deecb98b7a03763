"""A strongSwan without digital signatures (RFC 7427): ECDSA certificates and the methods of RFC 4754."""

from interop.lab import Lab, expect_in
from interop.steps import both_initiate_with_certificates


def run(lab: Lab) -> None:
    both_initiate_with_certificates(lab, "ecdsa", "ecdsa", {"signature_authentication": "no"})
    expect_in("strongSwan's log", lab.strongswan.log(), "authentication of 'west' with ECDSA-256 signature successful")
