"""A strongSwan without digital signatures (RFC 7427): RSA certificates and SHA-1, which authby= must name."""

from interop.lab import Lab, expect_in
from interop.steps import both_initiate_with_certificates


def run(lab: Lab) -> None:
    both_initiate_with_certificates(lab, "rsa", "rsasig,rsa-sha1", {"signature_authentication": "no"})
    expect_in("strongSwan's log", lab.strongswan.log(), "authentication of 'west' with RSA signature successful")
