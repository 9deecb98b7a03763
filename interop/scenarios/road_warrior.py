"""strongSwan's users log in with passwords and get addresses from ikeclone's pool; they keep them over rekeys.

A third user finds the pool of two used up; the addresses are free again when the users are gone.
"""

from interop.authority import Authority
from interop.lab import WEST, Lab, expect, expect_in

GATEWAY = {
    "authby": "ecdsa",
    "leftcert": "own.pem",
    "right": "%any",
    "rightid": "",
    "rightsubnet": "",
    "rightauth": "eap-mschapv2",
    "rightaddresspool": "10.3.0.1-10.3.0.2",
    "modecfgdns": "192.0.1.53",
}
PASSWORDS = {"alice": "a long password", "bob": "another password", "carol": "a third password"}


def run(lab: Lab) -> None:
    authority = Authority("ecdsa")
    others = {user: PASSWORDS[user] for user in ("bob", "carol")}
    lab.strongswan.be_user(authority.issue("east"), "alice", PASSWORDS["alice"], others)
    lab.strongswan.start(connection={"vips": "0.0.0.0"}, child={"local_ts": "dynamic"})  # noqa: S104  any address
    lab.start_ikeclone(GATEWAY, papers=authority.issue("west"), users=PASSWORDS)
    lab.strongswan.initiate()
    lab.strongswan.initiate(child="bob")
    expect("leases", leases(lab), {"10.3.0.1": "alice", "10.3.0.2": "bob"})
    expect_in("what strongSwan does with carol", lab.strongswan.initiate(check=False, child="carol"), "INT_ADDR_FAIL")
    expect_pings(lab)
    for more in ((), ("--ike",)):
        lab.ikeclone.command("rekey", "gw", *more)
    lab.strongswan.rekey_children()
    lab.strongswan.rekey_ike()
    expect("leases", leases(lab), {"10.3.0.1": "alice", "10.3.0.2": "bob"})
    expect_pings(lab)
    lab.strongswan.terminate_ike()
    lab.wait(lambda: leases(lab) == {"10.3.0.2": "bob"}, "the address of alice free again")
    lab.ikeclone.command("down", "gw")
    lab.expect_nothing()
    expect("leases", leases(lab), {})


def leases(lab: Lab) -> dict[str, str]:
    (pool,) = lab.ikeclone.status().pools
    return pool.leases


def expect_pings(lab: Lab) -> None:
    for user in leases(lab):
        expect(f"replies to west and to {user}", lab.ping_between(WEST.inner, user), [2, 2])
