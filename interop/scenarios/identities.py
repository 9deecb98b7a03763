"""Identities of every type, with preshared keys and in certificates, %fromcert and names with wildcards: all both ways.

Of each connection either side is once the initiator.
"""

from ipaddress import ip_address

from cryptography.x509 import DNSName, IPAddress, RFC822Name

from ikeclone.control.models import Down, Up
from interop.authority import Authority, Papers
from interop.lab import Lab, expect
from interop.swanctl import SECRET

# Who we say that we are, and who the peer must be: ikeclone's first.
Names = tuple[tuple[str, str], tuple[str, str]]


def plain(west: str, east: str) -> Names:
    return (west, east), (east, west)


NAMES = {
    "fqdn": plain("@west.example.org", "@east.example.org"),
    "mail": plain("west@example.org", "east@example.org"),
    "ipv4": plain("192.0.1.254", "192.0.2.254"),
    "ipv6": plain("2001:db8:a::1", "2001:db8:b::1"),
    "dn": plain("C=CA, O=Lab, CN=west", "C=CA, O=Lab, CN=east"),
}
FROM_CERTIFICATE = ("%fromcert", "%fromcert"), ("C=CA, O=Lab, CN=east", "C=CA, O=Lab, CN=west")
PATTERN = ("C=CA, O=Lab, CN=west", "C=CA, O=Lab, CN=*"), ("C=CA, O=Lab, CN=east", "C=CA, O=*, CN=*")
WITH_SECRET = NAMES | {"keyid": plain("@#0a0b0c", "@#0d0e0f")}
CERTIFIED = NAMES | {"fromcert": FROM_CERTIFICATE, "pattern": PATTERN}


def run(lab: Lab) -> None:
    authority = Authority("ecdsa")
    west, east = (papers(authority, host) for host in ("west", "east"))
    lab.strongswan.certify(east, own="psk", peer="psk")
    try_each(lab, WITH_SECRET, "secret", west)
    lab.strongswan.kill()
    lab.strongswan.certify(east)
    try_each(lab, CERTIFIED, "ecdsa", west)


def papers(authority: Authority, host: str) -> Papers:
    """A certificate for all names of a host."""
    (_, _, *mine) = (pair[host == "east"] for pair, _ in NAMES.values())
    names = (IPAddress(ip_address(name)) for name in mine[:2])
    return authority.issue(host, DNSName(f"{host}.example.org"), RFC822Name(f"{host}@example.org"), *names)


def try_each(lab: Lab, every: dict[str, Names], authby: str, own: Papers) -> None:
    """Bring a connection with each pair of names up and down, from both sides."""
    lab.strongswan.go_by({name: theirs for name, (_, theirs) in every.items()})
    lab.strongswan.start()
    ends = {name: {"leftid": f'"{mine}"', "rightid": f'"{yours}"'} for name, ((mine, yours), _) in every.items()}
    more = {"authby": authby} | ({"leftcert": "own.pem"} if authby != "secret" else {})
    lab.start_ikeclone(
        more,
        papers=own,
        others=ends,
        lines=[f'"{mine}" "{yours}" : PSK "{SECRET}"' for name, ((mine, yours), _) in WITH_SECRET.items()],
    )
    for name in every:
        lab.ikeclone.call(Up(name=name))
        expect(f"replies to west as {name}, {authby}", lab.ping(), 2)
        lab.ikeclone.call(Down(name=name))
        lab.expect_nothing()
        lab.strongswan.initiate(child=name)
        expect(f"replies to east as {name}, {authby}", lab.ping_back(), 2)
        lab.strongswan.terminate_ike(name)
        lab.expect_nothing()
