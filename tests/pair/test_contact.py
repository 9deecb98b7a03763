"""INITIAL_CONTACT and uniqueids=: which IKE SAs of a peer end when it makes another one."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from ikeclone.connection import Authby, Auto, Identity
from ikeclone.ike.auth import Authenticate
from ikeclone.ike.host import Settings
from ikeclone.ike.state import State
from ikeclone.numbers import NotifyType
from ikeclone.selectors import TrafficSelector
from ikeclone.wire.payloads import Notify
from tests.pair.network import EAST_END, NAME, Network, Side
from tests.pair.test_instances import ANYONE, peers, road, up, warrior

OTHER = "the-other"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each IKE_AUTH request said INITIAL_CONTACT."""
    contacts: list[bool] = []
    make = Authenticate.request

    def request(self: Authenticate, now: float):  # type: ignore[no-untyped-def]
        payloads = make(self, now)
        contacts.append(any(isinstance(p, Notify) and p.type is NotifyType.INITIAL_CONTACT for p in payloads or ()))
        return payloads

    monkeypatch.setattr(Authenticate, "request", request)
    return contacts


def second(net: Network) -> None:
    """Give both sides another connection between the same identities, for other subnets."""
    subnets = "192.0.11.0/24", "192.0.12.0/24"
    for side, (ours, theirs) in zip(net.sides, (subnets, subnets[::-1]), strict=True):
        local = replace(side.conn.local, selectors=(TrafficSelector.of(ip_network(ours)),))
        remote = replace(side.conn.remote, selectors=(TrafficSelector.of(ip_network(theirs)),))
        side.endpoint.add(replace(side.conn, name=OTHER, local=local, remote=remote, fragmentation=False), net.now)


def both_up(net: Network) -> None:
    second(net)
    for name in (NAME, OTHER):
        net.west.endpoint.tunnel(name).up(net.now)
        net.settle(net.west)
        net.run(2)


def living(side: Side) -> int:
    return sum(sa.state is not State.DEAD for sa in side.endpoint.ike_sas())


def test_the_first_ike_sa_says_initial_contact_and_a_second_does_not(said: list[bool]) -> None:
    net = road()
    third = warrior(net, 7)
    up(net.west, third)
    net.west.endpoint.tunnel(NAME).approach.start(net.now)
    net.settle(net.west)
    net.run(2)
    assert said == [True, True, False]
    assert peers(net) == {f"{NAME}[1]": "@west", f"{NAME}[2]": "@host7"}


def test_two_connections_to_one_peer_do_not_end_each_other(said: list[bool]) -> None:
    net = Network()
    both_up(net)
    assert said == [True, False]
    for side in net.sides:
        assert [len(side.endpoint.tunnels[name].clones.children) for name in (NAME, OTHER)] == [1, 1]
    net.run(60)
    assert living(net.west) == living(net.east) == 2


def test_initial_contact_ends_the_peers_ike_sas_of_every_connection_and_no_others() -> None:
    net = Network()
    third = warrior(net, 7)
    net.east.endpoint.add(replace(net.east.conn, name="third", remote=third.conn.local), net.now)
    for side in net.sides:
        side.endpoint.credentials = side.credentials = third.credentials
    both_up(net)
    up(third)
    net.west.start()
    up(net.west)
    tunnels = net.east.endpoint.tunnels
    assert (tunnels[OTHER].ike, tunnels[OTHER].clones.children) == (None, {})
    assert tunnels[NAME].ike is not None
    assert tunnels["third"].ike is not None
    assert living(net.east) == 2
    net.run(20)
    assert third.children


def test_initial_contact_that_comes_late_ends_nothing_that_was_made_meanwhile(said: list[bool]) -> None:
    """Its IKE_SA_INIT was the first; until its IKE_AUTH arrived another IKE SA was established."""
    net = Network().hold()
    second(net)
    west, east = net.sides
    west.up()
    east.take()
    west.take()
    late = east.inbox.popleft()
    net.run(0.1)
    west.endpoint.tunnel(OTHER).up(net.now)
    net.settle(west)
    for side in (east, west, east, west):
        side.take()
    net.receive(east, late)
    net.release()
    net.run(5)
    assert said == [True, False]
    assert living(west) == living(east) == 2
    for side in net.sides:
        assert [len(side.endpoint.tunnels[name].clones.children) for name in (NAME, OTHER)] == [1, 1]


def test_initial_contact_of_nobody_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not say who he is cannot say that others are gone (RFC 7619 section 2)."""
    nobody = Authby(null=True)
    net = Network(east={"remote": replace(ANYONE, auth=nobody), "local": replace(EAST_END, auth=nobody)})
    hosts = [warrior(net, number) for number in (7, 8)]
    for host in hosts:
        local, remote = replace(host.conn.local, auth=nobody, identity=None), replace(host.conn.remote, auth=nobody)
        host.conn = replace(host.conn, local=local, remote=remote)
        host.start()
    monkeypatch.setattr(Authenticate, "_contact", lambda self: (Notify(NotifyType.INITIAL_CONTACT),))
    up(*hosts)
    assert living(net.east) == 2
    assert set(peers(net).values()) == {"%null"}
    assert all(host.children for host in hosts)


def test_a_connection_that_the_peer_forgot_is_brought_up_again() -> None:
    net = Network(east={"auto": Auto.START}).established()
    net.run(2)
    net.west.start()
    up(net.west)
    net.run(30)
    assert living(net.west) == living(net.east) == 1
    net.assert_consistent()


def test_with_uniqueids_no_initial_contact_is_for_the_peers_address() -> None:
    net = road(Settings(uniqueids=False))
    third = warrior(net, 7, "@west")
    up(net.west, third)
    net.west.start()
    up(net.west)
    assert peers(net) == {f"{NAME}[2]": "@west", f"{NAME}[3]": "@west"}
    assert living(net.east) == 2


def test_identities_outlive_a_rekey_of_the_ike_sa() -> None:
    net = Network().established()
    net.west.rekey(ike=True)
    net.run(5)
    us, peer = Identity.parse("@east"), Identity.parse("@west")
    assert [sa.identities for sa in net.east.endpoint.ike_sas() if sa.state is State.ESTABLISHED] == [(us, peer)]
