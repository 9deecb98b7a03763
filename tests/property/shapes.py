"""What the tunnels of random walks are like: who has which addresses and connections, and who proves what how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address

from ikeclone.connection import Authby, Connection, End, Password, Pool, Ppk
from ikeclone.credentials import Credentials
from ikeclone.numbers import EapType
from ikeclone.pki.store import Store
from tests.pair.certified import ROOT, Host, issue
from tests.pair.network import EAST_END, KEY, NAME, WEST_END, Network, Side
from tests.pair.test_sharing import OTHER, moved

# One connection; two that share an IKE SA; one whose west asks east for its address.
SHAPES = ("one", "two", "road")
# A preshared key; a postquantum one beside it; of a road warrior, name and password.
PROOFS = ("psk", "ppk", "eap")

POOL = Pool(ip_address("10.3.0.1"), ip_address("10.3.0.2"))
EAP = Authby(eap=(EapType.MSCHAPV2,))
USERS = (Password("alice", "clientPass"),)
GATEWAY = Host(issue("east", "ed25519"))
ASKING = replace(WEST_END, selectors=(), asks=True)
LEASING = replace(WEST_END, selectors=(POOL.selector,), asks=True, pools=(POOL,))

Ends = dict[str, End]


def ends(shape: str, proof: str) -> tuple[Ends, Ends]:
    """What is different at west's connection and at east's."""
    if shape != "road":
        return {}, {}
    if proof != "eap":
        return {"local": ASKING}, {"remote": LEASING}
    return (
        {"local": replace(ASKING, auth=EAP, user="alice"), "remote": GATEWAY.remote(EAST_END)},
        {"local": GATEWAY.local(EAST_END), "remote": replace(LEASING, auth=EAP)},
    )


def credentials(shape: str, proof: str) -> tuple[Credentials, Credentials]:
    """West's and east's."""
    if proof == "ppk":
        both = replace(KEY, ppks=(Ppk((), b"one", b"1" * 32),))
        return both, both
    if (shape, proof) == ("road", "eap"):
        west = Credentials(store=Store((ROOT.certificate,)), passwords=USERS)
        return west, replace(GATEWAY.credentials(), passwords=USERS)
    return KEY, KEY


def second(conn: Connection) -> Connection:
    """A connection between the same ends, for other subnets."""
    return replace(conn, name=OTHER, local=moved(conn.local), remote=moved(conn.remote))


def assert_leases(net: Network) -> None:
    """West has the address that east has leased to it and no other; with a Child SA its data plane has it."""
    held = net.east.endpoint.host.pools[POOL].held
    assert tuple(held) == net.west.endpoint.tunnels[NAME].irac.addresses
    policies = net.west.backend.policies.values()
    used = {address for policy in policies for address in policy.addresses}
    assert used == set(held) or (not used and not net.west.children)


def assert_selectors(ones: Sequence[Side], others: Sequence[Side]) -> None:
    """What one side takes to be its own traffic is the other's to the other."""
    held = {spi: sa for side in others for spi, sa in side.backend.installed.items()}
    for sa in (sa for side in ones for sa in side.backend.installed.values()):
        other = held[sa.outbound_spi]
        assert (sa.local, sa.remote) == (other.remote, other.local)


def assert_nothing(sides: Sequence[Side]) -> None:
    """No SA, no lease and no timer is left."""
    for side in sides:
        assert not list(side.endpoint.ike_sas())
        assert not [leases for leases in side.endpoint.host.pools.values() if leases.held]
        assert not side.backend.installed
        assert not side.backend.reserved
        assert not side.backend.outbound
        assert side.endpoint.host.timers.owners() == ()
