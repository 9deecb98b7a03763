"""MOBIKE together with what else a connection may have: EAP, templates, reauthentication, transport mode, no NAT."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from ikeclone.backend import Mode, Path
from ikeclone.connection import Choice, Timing
from ikeclone.errors import UnexpectedNatDetected
from ikeclone.ike import nat
from ikeclone.ike.actions import Kind
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Header, Message
from ikeclone.wire.payloads import Notify
from tests.pair.nat import Nat
from tests.pair.network import EAST, EAST_END, NAME, WEST, WEST_END, Network, Side
from tests.pair.scenario import assert_carries, ike_sa, notifies
from tests.pair.test_eap import warrior
from tests.pair.test_instances import ANYONE, KEY
from tests.pair.test_mobike import between, mobile

ROAMED, FARTHER, SECOND = "198.51.100.7", "203.0.113.7", "192.1.2.24"
OTHER = "host-host"


def established_sas(side: Side) -> list[State]:
    return [sa.state for sa in side.endpoint.ike_sas() if sa.state is State.ESTABLISHED]


@pytest.mark.parametrize("who", ["west", "east"])
@pytest.mark.parametrize(("west", "east"), [(ROAMED, str(EAST)), (str(WEST), SECOND), (ROAMED, SECOND)])
def test_authenticating_anew_where_mobike_has_brought_it(who: str, west: str, east: str) -> None:
    net = mobile().established()
    net.west.addresses(west)
    net.run(5)
    net.east.addresses(east)
    net.run(5)
    former = ike_sa(net.west)
    getattr(net, who).rekey(reauth=True)
    net.run(60)
    assert ike_sa(net.west) is not former
    assert [established_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2
    assert between(net, west, east)
    net.assert_consistent()
    assert_carries(net)
    net.west.addresses(FARTHER)
    net.run(5)
    assert between(net, FARTHER, east)


def test_a_move_while_authenticating_anew() -> None:
    net = mobile().established()
    net.west.rekey(reauth=True)
    net.west.addresses(ROAMED)
    net.run(60)
    assert between(net, ROAMED)
    net.assert_consistent()
    assert_carries(net)


def test_a_user_with_a_password_moves() -> None:
    net = warrior()
    for side in net.sides:
        side.conn = replace(side.conn, mobike=True)
        side.start()
    net.established()
    assert ike_sa(net.west).mobike is not None
    net.west.addresses(ROAMED)
    net.run(5)
    assert between(net, ROAMED)
    assert_carries(net)


def test_one_of_several_peers_moves() -> None:
    """The instance stays what it is, and when the peer comes anew it is its instance again."""
    net = Network(west={"mobike": True}, east={"mobike": True, "remote": ANYONE})
    for side in net.sides:
        side.endpoint.credentials = side.credentials = KEY
    net.established()
    net.west.addresses(ROAMED)
    net.run(5)
    assert between(net, ROAMED)
    net.west.start()
    net.west.up()
    net.run(5)
    assert [name for name in net.east.endpoint.tunnels if name != NAME] == [f"{NAME}[1]"]
    assert between(net, ROAMED)


@pytest.mark.parametrize("who", ["west", "east"])
@pytest.mark.parametrize("ike", [False, True])
def test_hosts_without_networks_agree_on_their_traffic(who: str, ike: bool) -> None:
    ends = replace(WEST_END, selectors=()), replace(EAST_END, selectors=())
    both = {"mobike": True}
    net = Network(
        west={"local": ends[0], "remote": ends[1], **both}, east={"local": ends[1], "remote": ends[0], **both}
    )
    net.established()
    net.west.addresses(ROAMED)
    net.run(5)
    getattr(net, who).rekey(ike=ike)
    net.run(30)
    assert between(net, ROAMED)
    ours, theirs = ([*side.backend.installed.values()] for side in net.sides)
    assert [(sa.local, sa.remote) for sa in ours] == [(sa.remote, sa.local) for sa in theirs]
    net.assert_consistent()
    assert_carries(net)


def with_transport(net: Network) -> Network:
    """Another connection of the same hosts, in transport mode."""
    for side in net.sides:
        local, remote = replace(side.conn.local, selectors=()), replace(side.conn.remote, selectors=())
        conn = replace(side.conn, name=OTHER, local=local, remote=remote, mode=Mode.TRANSPORT, mobike=False)
        side.endpoint.add(conn, net.now)
    return net


def test_transport_mode_does_not_join_an_ike_sa_that_moves() -> None:
    net = with_transport(mobile().established())
    net.west.endpoint.tunnels[OTHER].up(net.now)
    net.west.network.settle(net.west)
    net.run(5)
    tunnels = [side.endpoint.tunnels[OTHER] for side in net.sides]
    assert [tunnel.clones.fallback is not None for tunnel in tunnels] == [True, True]
    assert all(tunnel.ike is not None and tunnel.ike.mobike is None for tunnel in tunnels)
    net.west.addresses(ROAMED)
    net.run(5)
    paths = {(sa.connection, sa.path.local) for sa in net.west.backend.installed.values()}
    assert paths == {(NAME, ip_address(ROAMED)), (OTHER, WEST)}


def test_a_peer_gets_no_transport_mode_on_an_ike_sa_that_moves() -> None:
    """It is refused there, and gets it on another one."""
    net = with_transport(mobile().established())
    joining = net.west.endpoint.tunnels[OTHER]
    joining.join(ike_sa(net.west))
    joining.openings.open_fallback(net.now)
    net.settle(net.west)
    net.run(5)
    assert any("TS_UNACCEPTABLE" in report.text for report in net.east.reports)
    found = {sa for sa in net.east.endpoint.ike_sas() for c in sa.children.values() if c.connection == OTHER}
    assert [sa.mobike for sa in found] == [None]


# No NAT (RFC 4555 section 3.9)


def test_the_octets_of_the_prohibition() -> None:
    """Source, destination, source port, destination port (section 4.2.6)."""
    assert nat.forbid(Path(WEST, EAST, 500, 4500)).data == bytes.fromhex("c001022d c0010217 01f4 1194")
    path = Path(ip_address("2001:db8::1"), ip_address("2001:db8::2"), 4500, 4500)
    addresses = "20010db8000000000000000000000001 20010db8000000000000000000000002"
    assert nat.forbid(path).data == bytes.fromhex(f"{addresses} 1194 1194")


@pytest.mark.parametrize("octet", range(12))
def test_every_octet_of_the_prohibition_counts(octet: int) -> None:
    data = bytearray(nat.forbid(Path(WEST, EAST)).data)
    header = Header(bytes(8), bytes(8), ExchangeType.INFORMATIONAL, 1, True, False)
    nat.check_prohibition(Message(header, (Notify(NotifyType.NO_NATS_ALLOWED, bytes(data)),)), Path(EAST, WEST))
    data[octet] ^= 1
    with pytest.raises(UnexpectedNatDetected):
        nat.check_prohibition(Message(header, (Notify(NotifyType.NO_NATS_ALLOWED, bytes(data)),)), Path(EAST, WEST))


def test_what_tells_of_addresses_forbids_nats() -> None:
    """The first request of IKE_AUTH, news of addresses, an update."""
    net = mobile(encapsulation=Choice.NO).hold()
    net.west.up()
    net.east.take()
    net.west.take()
    assert NotifyType.NO_NATS_ALLOWED in notifies(net.east)
    net.release()
    net.run(5)
    net.hold()
    net.west.addresses(str(WEST), ROAMED)
    assert notifies(net.east) == {NotifyType.ADDITIONAL_IP4_ADDRESS, NotifyType.NO_NATS_ALLOWED}
    net.release()
    net.run(5)
    net.hold()
    net.west.addresses(ROAMED)
    assert {NotifyType.UPDATE_SA_ADDRESSES, NotifyType.NO_NATS_ALLOWED} < notifies(net.east)


def test_a_nat_is_refused_in_the_first_exchange() -> None:
    net = mobile(encapsulation=Choice.NO, timing=Timing(margin=60))
    net.nat = Nat(WEST, ip_address(FARTHER))
    net.east.conn = replace(net.east.conn, remote=replace(net.east.conn.remote, address=None))
    net.east.start()
    net.west.up()
    net.run(1)
    assert any("UNEXPECTED_NAT_DETECTED" in report.text for report in net.west.kinds(Kind.FAILED))
    assert not net.east.children
