"""ikeclone logs in with name and password (EAP-MSCHAPv2) at a strongSwan that has a certificate; a wrong one fails."""

from interop.authority import Authority
from interop.lab import Lab, expect_in
from interop.steps import ping_both_ways

WARRIOR = {"authby": "ecdsa", "leftauth": "eap-mschapv2", "leftusername": "alice"}


def run(lab: Lab) -> None:
    authority = Authority("ecdsa")
    lab.strongswan.serve_users(authority.issue("east"), {"alice": "a long password"})
    lab.strongswan.start()
    lab.start_ikeclone(WARRIOR, papers=authority.issue("west"), users={"alice": "another password"})
    expect_in("ikeclone up", lab.fail_to_come_up(), "the EAP server refuses us")
    lab.expect_nothing()
    lab.start_ikeclone(WARRIOR, papers=authority.issue("west"), users={"alice": "a long password"})
    lab.up()
    ping_both_ways(lab)
