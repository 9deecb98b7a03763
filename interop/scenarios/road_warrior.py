"""strongSwan's users log in with passwords and get addresses from ikeclone's pools; they keep them over rekeys.

Each gets an IPv4 and an IPv6 address. A third user finds the pools of two used up; the addresses are free again when
the users are gone.
"""

from interop.authority import Authority
from interop.lab import WEST, WEST6, Lab, expect, expect_in

GATEWAY = {
    "authby": "ecdsa",
    "leftcert": "own.pem",
    "leftsubnet": f'"{WEST.net} {WEST6.net}"',
    "right": "%any",
    "rightid": "",
    "rightsubnet": "",
    "rightauth": "eap-mschapv2",
    "rightaddresspool": '"10.3.0.1-10.3.0.2 2001:db8:3::1-2001:db8:3::2"',
    "modecfgdns": '"192.0.1.53 2001:db8:a::53"',
}
PASSWORDS = {"alice": "a long password", "bob": "another password", "carol": "a third password"}


LEASES = {"10.3.0.1": "alice", "2001:db8:3::1": "alice", "10.3.0.2": "bob", "2001:db8:3::2": "bob"}


def run(lab: Lab) -> None:
    lab.west.ip(f"address add {WEST6.inner}/128 dev lo nodad")
    authority = Authority("ecdsa")
    others = {user: PASSWORDS[user] for user in ("bob", "carol")}
    lab.strongswan.be_user(authority.issue("east"), "alice", PASSWORDS["alice"], others)
    child = {"local_ts": "dynamic", "remote_ts": f"{WEST.net}, {WEST6.net}"}
    lab.strongswan.start(connection={"vips": "0.0.0.0, ::"}, child=child)
    lab.start_ikeclone(GATEWAY, papers=authority.issue("west"), users=PASSWORDS)
    lab.strongswan.initiate()
    lab.strongswan.initiate(child="bob")
    expect("leases", leases(lab), LEASES)
    expect_in("what strongSwan does with carol", lab.strongswan.initiate(check=False, child="carol"), "INT_ADDR_FAIL")
    expect_pings(lab)
    for more in ((), ("--ike",)):
        lab.ikeclone.command("rekey", "gw", *more)
    lab.strongswan.rekey_children()
    lab.strongswan.rekey_ike()
    expect("leases", leases(lab), LEASES)
    expect_pings(lab)
    lab.strongswan.terminate_ike()
    bobs = {address: user for address, user in LEASES.items() if user == "bob"}
    lab.wait(lambda: leases(lab) == bobs, "the addresses of alice free again")
    lab.ikeclone.command("down", "gw")
    lab.expect_nothing()
    expect("leases", leases(lab), {})


def leases(lab: Lab) -> dict[str, str]:
    return {address: user for pool in lab.ikeclone.status().pools for address, user in pool.leases.items()}


def expect_pings(lab: Lab) -> None:
    for address in leases(lab):
        inner = WEST6.inner if ":" in address else WEST.inner
        expect(f"replies to west and to {address}", lab.ping_between(inner, address), [2, 2])
