"""strongSwan logs in with name and password (EAP-MSCHAPv2) at an ikeclone that has a certificate; a wrong one fails."""

from interop.authority import Authority
from interop.lab import Lab, expect_in
from interop.steps import ping_both_ways

GATEWAY = {"authby": "ecdsa", "rightauth": "eap-mschapv2", "leftcert": "own.pem"}


def run(lab: Lab) -> None:
    authority = Authority("ecdsa")
    lab.strongswan.be_user(authority.issue("east"), "alice", "a long password")
    lab.strongswan.start()
    lab.start_ikeclone(GATEWAY, papers=authority.issue("west"), users={"alice": "another"})
    lab.strongswan.initiate(check=False)
    expect_in("strongSwan's log", lab.strongswan.log(), "EAP-MS-CHAPv2 failed with error ERROR_AUTHENTICATION_FAILURE")
    lab.expect_nothing()
    users = {"alice": "a long password", "bob": "another"}
    lab.start_ikeclone(GATEWAY, papers=authority.issue("west"), users=users)
    lab.strongswan.initiate()
    ping_both_ways(lab)
