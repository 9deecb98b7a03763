"""ikeclone proves itself with a preshared key, strongSwan with a certificate."""

from interop.authority import Authority
from interop.lab import Lab
from interop.steps import ping_both_ways


def run(lab: Lab) -> None:
    authority = Authority("ecdsa")
    lab.strongswan.certify(authority.issue("east"), peer="psk")
    lab.strongswan.start()
    lab.start_ikeclone({"leftauth": "secret", "rightauth": "ecdsa"}, papers=authority.issue("west"))
    lab.up()
    ping_both_ways(lab)
