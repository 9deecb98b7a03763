"""Users with certificates (EAP-TLS), strongSwan's at ikeclone and ikeclone's at strongSwan, in TLS 1.2 and 1.3.

With a gateway that proves itself by a signature, and with EAP alone for both (RFC 5998).
"""

from interop.authority import Authority, Papers
from interop.lab import Lab, expect_in
from interop.steps import both_initiate, ping_both_ways

# strongSwan is a user where its own end has EAP, a gateway where the peer's has.
SIGNED = {"authby": "ecdsa", "leftcert": "own.pem"}
LIMIT = 300


def run(lab: Lab) -> None:
    authority = Authority("ecdsa")
    ours, theirs = authority.issue("west"), authority.issue("east")
    for version in ("1.2", "1.3"):
        use(lab, theirs, version, local="eap-tls", remote="pubkey")
        lab.start_ikeclone(SIGNED | {"rightauth": "eap-tls"}, papers=ours)
        lab.strongswan.initiate()
        expect_tunnel(lab, version)
        use(lab, theirs, version, local="pubkey", remote="eap-tls")
        lab.start_ikeclone(SIGNED | {"leftauth": "eap-tls"}, papers=ours)
        lab.up()
        expect_tunnel(lab, version)
    use(lab, theirs, "1.3", local="eap-tls", remote="eap-tls")
    lab.start_ikeclone({"authby": "eap-tls", "leftcert": "own.pem"}, papers=ours)
    both_initiate(lab)


def use(lab: Lab, papers: Papers, version: str, local: str, remote: str) -> None:
    """Start strongSwan with this version of TLS and these ways to authenticate."""
    lab.strongswan.certify(papers, peer=remote, own=local)
    lab.strongswan.start(tls={"version_min": version, "version_max": version})


def expect_tunnel(lab: Lab, version: str) -> None:
    expect_in("strongSwan's log", lab.strongswan.log(), f"negotiated TLS {version}")
    ping_both_ways(lab)
    lab.ikeclone.command("down", "gw")
    lab.expect_nothing()
    lab.strongswan.kill()
