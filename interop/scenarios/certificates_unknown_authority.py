"""Certificates of authorities that the other side does not trust: whoever initiates is told, and nothing is left."""

from interop.authority import Authority
from interop.lab import Lab, expect_in


def run(lab: Lab) -> None:
    lab.strongswan.certify(Authority("ecdsa").issue("east"))
    lab.strongswan.start()
    lab.start_ikeclone({"authby": "ecdsa", "leftcert": "own.pem"}, papers=Authority("ecdsa").issue("west"))
    expect_in("ikeclone up", lab.fail_to_come_up(), "AUTHENTICATION_FAILED")
    expect_in("swanctl --initiate", lab.strongswan.initiate(check=False), "AUTH_FAILED")
    lab.expect_nothing()
