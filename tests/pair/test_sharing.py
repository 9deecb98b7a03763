"""Several connections on one IKE SA: what each of them does, and what they leave to the others."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from ikeclone.connection import End, Timing
from ikeclone.ike.actions import Kind
from ikeclone.ike.resume import Resumption
from ikeclone.ike.state import State
from ikeclone.ike.tunnel import Tunnel
from ikeclone.numbers import ExchangeType
from ikeclone.selectors import TrafficSelector
from ikeclone.wire.message import parse_message
from tests.pair.network import NAME, Network, Side

OTHER = "the-other"
TIMING = Timing(margin=60, dpd_delay=10, retransmit_timeout=15)


def tunnel(side: Side, name: str) -> Tunnel:
    return side.endpoint.tunnels[name]


def act(side: Side, command: str, name: str, *arguments: object) -> None:
    getattr(tunnel(side, name), command)(side.network.now, *arguments)
    side.network.settle(side)
    side.network.run(2)


def net_of_two(seed: int = 1, **changes: object) -> Network:
    """Two connections with the same ends, for other subnets; `changes` are the second one's on both sides."""
    net = Network(west={"timing": TIMING}, east={"timing": TIMING}, seed=seed)
    for side in net.sides:
        conn = side.conn
        local, remote = moved(conn.local), moved(conn.remote)
        side.endpoint.add(replace(conn, name=OTHER, local=local, remote=remote, **changes), net.now)  # type: ignore[arg-type]
    return net


def moved(end: End) -> End:
    """The end with 192.0.1x.0/24 in place of 192.0.x.0/24."""
    subnet = str(end.selectors[0]).replace("192.0.", "192.0.1")
    return replace(end, selectors=(TrafficSelector.of(ip_network(subnet)),))


def both_up(**changes: object) -> Network:
    net = net_of_two(1, **changes)
    for name in (NAME, OTHER):
        act(net.west, "up", name)
    return net


def living(side: Side) -> list[State]:
    return [sa.state for sa in side.endpoint.ike_sas() if sa.state is not State.DEAD]


def counts(net: Network) -> list[list[int]]:
    """How many Child SAs each connection has, west's and east's."""
    return [[len(tunnel(side, name).clones.children) for name in (NAME, OTHER)] for side in net.sides]


def agree(net: Network) -> None:
    west, east = (side.backend.installed for side in net.sides)
    assert {sa.outbound_spi: sa.connection for sa in west.values()} == {spi: sa.connection for spi, sa in east.items()}
    assert not any(side.backend.reserved for side in net.sides)


def test_the_second_connection_takes_the_ike_sa_of_the_first() -> None:
    net = both_up()
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    assert counts(net) == [[1, 1], [1, 1]]
    for side in net.sides:
        assert side.backend.policies.keys() == {NAME, OTHER}
        assert tunnel(side, NAME).ike is tunnel(side, OTHER).ike
    agree(net)


def test_the_ike_sa_of_the_first_is_enough_for_one_that_wants_no_child_sa() -> None:
    net = net_of_two()
    act(net.west, "up", NAME)
    tunnel(net.west, OTHER).up(net.now, ike_only=True)
    net.settle(net.west)
    net.run(5)
    assert net.west.kinds(Kind.IKE_UP)[-1].connection == OTHER
    assert counts(net) == [[1, 0], [1, 0]]
    assert tunnel(net.west, OTHER).ike is tunnel(net.west, NAME).ike


def test_with_other_ends_it_has_its_own() -> None:
    net = both_up(fragmentation=False)
    assert len(living(net.west)) == 2
    assert counts(net) == [[1, 1], [1, 1]]


def test_clones_are_of_the_connection_whose_traffic_opens_them() -> None:
    net = both_up()
    for name, cpu in ((NAME, 0), (OTHER, 0), (OTHER, 1)):
        net.west.endpoint.acquire(name, cpu, net.now)
        net.settle(net.west)
        net.run(3)
    assert counts(net) == [[2, 3], [2, 3]]
    assert sorted(child.name for child in tunnel(net.east, OTHER).clones) == [f"{OTHER}-{i}" for i in range(3)]
    agree(net)


@pytest.mark.parametrize("ike", [False, True])
@pytest.mark.parametrize("name", [NAME, OTHER])
def test_rekeys_leave_each_what_it_has(name: str, ike: bool) -> None:
    net = both_up()
    before = {name: tunnel(net.west, name).clones.fallback for name in (NAME, OTHER)}
    for side in net.sides:
        act(side, "rekey", name, ike)
        net.run(40)
    assert counts(net) == [[1, 1], [1, 1]]
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    changed = [name for name in (NAME, OTHER) if tunnel(net.west, name).clones.fallback is not before[name]]
    assert changed == ([] if ike else [name])
    assert tunnel(net.west, NAME).ike is tunnel(net.west, OTHER).ike
    agree(net)


@pytest.mark.parametrize(("first", "last"), [(NAME, OTHER), (OTHER, NAME)])
@pytest.mark.parametrize("of", ["west", "east"])
def test_down_takes_one_and_the_ike_sa_goes_with_the_last(first: str, last: str, of: str) -> None:
    net = both_up()
    side = getattr(net, of)
    act(side, "down", first)
    assert [len(tunnel(each, first).clones.children) for each in net.sides] == [0, 0]
    assert [len(tunnel(each, last).clones.children) for each in net.sides] == [1, 1]
    assert living(net.west) == [State.ESTABLISHED]
    assert side.kinds(Kind.IKE_DOWN)[-1].connection == first
    act(side, "down", last)
    assert counts(net) == [[0, 0], [0, 0]]
    assert living(net.west) == living(net.east) == []


def test_up_right_after_down_is_up() -> None:
    """Its Child SA on the IKE SA that it shares waits for its deletion: the peer works on another request."""
    net = both_up()
    one = tunnel(net.west, OTHER)
    one.rekey(net.now, True)
    one.down(net.now)
    one.up(net.now)
    net.settle(net.west)
    net.run(60)
    assert counts(net) == [[1, 1], [1, 1]]
    agree(net)


def test_one_that_was_taken_down_comes_up_on_the_same_ike_sa() -> None:
    net = both_up()
    act(net.west, "down", NAME)
    act(net.west, "up", NAME)
    assert counts(net) == [[1, 1], [1, 1]]
    assert living(net.west) == [State.ESTABLISHED]
    agree(net)


def test_one_that_goes_down_before_it_is_up_leaves_nothing() -> None:
    net = both_up()
    act(net.west, "down", OTHER)
    tunnel(net.west, OTHER).up(net.now)
    net.settle(net.west)
    tunnel(net.west, OTHER).down(net.now)
    net.settle(net.west)
    net.run(60)
    assert counts(net) == [[1, 0], [1, 0]]
    agree(net)


def test_a_peer_that_vanishes_is_awaited_by_both() -> None:
    net = both_up()
    net.link.cut = True
    net.run(60)
    assert counts(net) == [[0, 0], [0, 0]]
    net.link.cut = False
    net.run(120)
    assert counts(net) == [[1, 1], [1, 1]]
    agree(net)


def test_a_peer_that_has_it_on_an_ike_sa_of_its_own_is_asked_for_that() -> None:
    net = net_of_two()
    east = net.east.endpoint
    other = east.tunnels[OTHER]
    other.connection = replace(other.connection, fragmentation=False)
    for name in (NAME, OTHER):
        act(net.west, "up", name)
    net.run(5)
    assert counts(net) == [[1, 1], [1, 1]]
    assert len(living(net.west)) == 2
    agree(net)


def test_either_side_may_open_the_second() -> None:
    net = net_of_two()
    act(net.west, "up", NAME)
    act(net.east, "up", OTHER)
    assert counts(net) == [[1, 1], [1, 1]]
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    agree(net)


def test_one_that_the_peer_takes_down_does_not_come_back_with_the_other() -> None:
    """As if the peer had deleted an IKE SA of its own; asked for, it is wanted again."""
    net = both_up()
    act(net.east, "down", NAME)
    for expected in ([0, 1], [1, 1]):
        net.link.cut = True
        net.run(60)
        net.link.cut = False
        net.run(120)
        assert counts(net) == [expected, expected]
        act(net.west, "up", NAME)
    agree(net)


def ping_both(net: Network, seconds: float) -> None:
    """Packets of both connections from both sides all the time; none is lost."""
    for _ in range(int(seconds / 0.1)):
        for side in net.sides:
            for name in (NAME, OTHER):
                packet = side.backend.transmit(name, 0, 84)
                assert packet is not None
                side.hear()
                net.carry(side, packet)
                net.settle(side)
        net.run(0.1)
    net.run(1)
    assert net.lost_packets == []


@pytest.mark.parametrize("of", ["west", "east"])
@pytest.mark.parametrize("name", [NAME, OTHER])
@pytest.mark.parametrize("clones", [0, 2])
def test_reauthentication_renews_what_each_of_them_has(of: str, name: str, clones: int) -> None:
    net = net_of_two(1, clones=clones)
    for each in (NAME, OTHER):
        act(net.west, "up", each)
    old = {sa.serial for sa in net.west.endpoint.ike_sas()}
    spis = set(net.west.backend.installed)
    tunnel(getattr(net, of), name).rekey(net.now, False, reauth=True)
    net.settle(getattr(net, of))
    ping_both(net, 40)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    assert not old & {sa.serial for sa in net.west.endpoint.ike_sas() if sa.state is State.ESTABLISHED}
    assert not spis & set(net.west.backend.installed)
    for side in net.sides:
        assert tunnel(side, NAME).ike is tunnel(side, OTHER).ike
        assert [len([c for c in tunnel(side, each).clones if c.cpu is None]) for each in (NAME, OTHER)] == [1, 1]
        assert side.kinds(Kind.CHILD_UP)
    agree(net)


@pytest.mark.parametrize("of", ["west", "east"])
@pytest.mark.parametrize("answered", [True, False], ids=["no answer", "no request"])
def test_reauthentication_again_before_the_other_has_its_child_sa(of: str, answered: bool) -> None:
    """The IKE SA on which the other connection's Child SA is being made is replaced: nothing it needs goes yet."""
    net = both_up()
    first: list[bytes] = []

    def drop(data: bytes) -> bool:
        header = parse_message(data).header
        lost = header.exchange is ExchangeType.CREATE_CHILD_SA and header.initiator_spi in first
        return lost and header.response is answered

    for _ in range(2):
        tunnel(getattr(net, of), OTHER).rekey(net.now, False, reauth=True)
        net.settle(getattr(net, of))
        if not first:
            net.run_until(lambda: len(living(getattr(net, of))) == 2)
            first.append(list(net.west.endpoint.ike_sas())[-1].spi_i)
            net.link.drop = drop
            ping_both(net, 0.3)
    ping_both(net, 60)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    agree(net)


def test_a_connection_alone_is_authenticated_anew_in_time() -> None:
    """The one that had the IKE SA goes down; the other one authenticates anew when it is due."""
    timing = replace(TIMING, ike_lifetime=300.0, margin=30.0)
    net = Network(west={"timing": timing, "reauth": True}, east={"timing": timing})
    for side in net.sides:
        conn = side.conn
        side.endpoint.add(replace(conn, name=OTHER, local=moved(conn.local), remote=moved(conn.remote)), net.now)
    for each in (NAME, OTHER):
        act(net.west, "up", each)
    net.run(100)
    act(net.west, "down", NAME)
    (before,) = net.west.endpoint.ike_sas()
    net.run(210)
    (after,) = [sa for sa in net.west.endpoint.ike_sas() if sa.state is State.ESTABLISHED]
    assert after is not before
    assert counts(net) == [[0, 1], [0, 1]]
    assert not [report for report in net.west.kinds(Kind.IKE_DOWN) if report.connection == OTHER]
    agree(net)


def test_reauthentication_that_fails_leaves_both_where_they_are() -> None:
    net = both_up()
    (before,) = net.west.endpoint.ike_sas()
    net.east.endpoint.credentials = replace(net.east.endpoint.credentials, secrets=())
    tunnel(net.west, OTHER).rekey(net.now, False, reauth=True)
    net.settle(net.west)
    ping_both(net, 30)
    assert [sa for sa in net.west.endpoint.ike_sas() if sa.state is State.ESTABLISHED] == [before]
    assert not [report for side in net.sides for report in side.kinds(Kind.IKE_DOWN, Kind.CHILD_DOWN)]
    agree(net)


def test_a_peer_that_asks_for_an_ike_sa_of_its_own_for_one_of_them_gets_it() -> None:
    """What that one had on the IKE SA of the other is deleted there, and the other one stays."""
    net = both_up()
    tunnel(net.west, OTHER).approach.ask(net.now)
    net.settle(net.west)
    net.run(60)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED, State.ESTABLISHED]
    assert counts(net) == [[1, 1], [1, 1]]
    for side in net.sides:
        assert tunnel(side, NAME).ike is not tunnel(side, OTHER).ike
    agree(net)


def test_one_that_comes_up_alone_does_not_wait_for_the_ticket_of_another_that_shares_nothing_with_it() -> None:
    """That of a lost IKE SA serves those that may be on it."""
    both = {"timing": TIMING, "resumption": True}
    net = Network(west=both, east=both)
    for side in net.sides:
        conn = side.conn
        other = replace(conn, name=OTHER, local=moved(conn.local), remote=moved(conn.remote), fragmentation=False)
        side.endpoint.add(replace(other, resumption=False), net.now)
    act(net.west, "up", NAME)
    tunnel(net.west, NAME).wanted = True
    net.link.cut = True
    net.run_until(lambda: tunnel(net.west, NAME).ike is None)
    session = tunnel(net.west, NAME).resumption.session
    assert session is not None
    net.link.cut = False
    tunnel(net.west, OTHER).up(net.now)
    net.settle(net.west)
    assert tunnel(net.west, NAME).resumption.session is session
    assert tunnel(net.west, OTHER).approach.initiation is not None
    net.run(60)
    assert counts(net) == [[1, 1], [1, 1]]
    assert tunnel(net.west, NAME).ike is not tunnel(net.west, OTHER).ike


def test_one_that_comes_up_has_the_lost_ike_sa_of_another_resumed() -> None:
    """The other one would have waited until its next attempt; both are on that IKE SA again."""
    both = {"timing": TIMING, "resumption": True}
    net = Network(west=both, east=both)
    for side in net.sides:
        conn = side.conn
        side.endpoint.add(replace(conn, name=OTHER, local=moved(conn.local), remote=moved(conn.remote)), net.now)
    act(net.west, "up", NAME)
    tunnel(net.west, NAME).wanted = True
    net.link.cut = True
    net.run_until(lambda: tunnel(net.west, NAME).ike is None)
    net.link.cut = False
    tunnel(net.west, OTHER).up(net.now)
    net.settle(net.west)
    assert isinstance(tunnel(net.west, NAME).approach.initiation, Resumption)
    assert tunnel(net.west, OTHER).approach.awaits is tunnel(net.west, NAME)
    net.run(5)
    assert counts(net) == [[1, 1], [1, 1]]
    assert tunnel(net.west, NAME).ike is tunnel(net.west, OTHER).ike
