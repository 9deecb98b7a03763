"""Both sides authenticate anew at once: one new IKE SA stays, both agree which, and no packet is lost meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.connection import Childless
from ikeclone.errors import LocalError
from ikeclone.ike.actions import Kind
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import parse_message
from tests.pair.network import NAME, Network, Side
from tests.pair.scenario import assert_one_tunnel, by_hand, cross, notifies, watched
from tests.pair.test_reauth import cpus, ike_sas
from tests.pair.test_sharing import OTHER, agree, both_up, counts, living, tunnel


def take(side: Side, kind: ExchangeType, *, response: bool = False) -> None:
    """Deliver one message that waits for a side."""
    headers = [parse_message(datagram.data).header for datagram in side.inbox]
    side.take(next(i for i, each in enumerate(headers) if (each.exchange, each.response) == (kind, response)))


def ask(net: Network) -> tuple[Side, Side]:
    """Both ask for a new IKE SA, then IKE_AUTH of both is on its way; the one with the lower SPI is the first's."""
    net.hold()
    for side in net.sides:
        side.rekey(reauth=True)
    # The east did not ask for the IKE SA that there is: it makes sure that the west knows of it.
    take(net.west, ExchangeType.INFORMATIONAL)
    take(net.east, ExchangeType.INFORMATIONAL, response=True)
    spis = {side: initiation.local_spi for side in net.sides if (initiation := tunnel(side, NAME).approach.initiation)}
    lower, higher = sorted(net.sides, key=lambda side: spis[side])
    for one, other in ((higher, lower), (lower, higher)):
        take(one, ExchangeType.IKE_SA_INIT)
        take(other, ExchangeType.IKE_SA_INIT, response=True)
    return lower, higher


def with_clones(seed: int) -> Network:
    """A tunnel with a clone for each CPU of both sides, which from now on always can send."""
    net = Network(seed=seed).established()
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(2)
    for side in net.sides:
        side.reports.clear()
    return watched(net)


def carry(net: Network, seconds: float) -> None:
    """Packets of all CPUs of both sides all the while; then time for what is left over."""
    for _ in range(round(seconds / 0.25)):
        assert all(side.packet(cpu) for side in net.sides for cpu in (0, 1))
        net.run(0.25)


def assert_one_new(net: Network, former: int) -> None:
    """One IKE SA is left, a new one, and each CPU has one clone."""
    net.assert_consistent()
    assert [ike_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2
    assert net.west.ike is not None
    assert net.west.ike.serial > former
    assert [sorted(cpus(side), key=str) for side in net.sides] == [[0, 1, None]] * 2
    assert net.lost_packets == []
    assert [side.kinds(Kind.IKE_DOWN, Kind.FAILED) for side in net.sides] == [[], []]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("first", ["requests", "lower", "higher"])
def test_at_the_same_instant(first: str, seed: int) -> None:
    """Neither is there before the other is asked for; the one with the higher SPI stays."""
    net = with_clones(seed)
    lower, higher = ask(net)
    for one, other in {"lower": [(lower, higher)], "higher": [(higher, lower)]}.get(first, []):
        take(other, ExchangeType.IKE_AUTH)
        take(one, ExchangeType.IKE_AUTH, response=True)
    if first == "requests":
        for side in net.sides:
            take(side, ExchangeType.IKE_AUTH)
    net.release()
    carry(net, 5)
    assert_one_new(net, 1)
    assert [len(side.kinds(Kind.IKE_UP)) for side in net.sides] == [2, 2]
    for side in net.sides:
        assert side.ike is not None
        assert side.ike.initiator is (side is higher)


def loses_first(net: Network, lost: int) -> None:
    """The west's first requests for an IKE SA are lost: the east knows nothing of it when its own goes on."""

    def drop(data: bytes) -> bool:
        nonlocal lost
        header = parse_message(data).header
        sent = tunnel(net.west, NAME).approach.initiation
        wests = sent is not None and header.initiator_spi == sent.local_spi
        asks = wests and not header.response
        lost -= asks
        return asks and lost >= 0

    net.link.drop = drop


@pytest.mark.parametrize("distances", [(0.0, 0.0), (0.4, 0.0), (0.4, 3.0), (3.0, 0.4), (3.0, 3.0)])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_from_far_away_with_lost_messages(distances: tuple[float, float], lost: int) -> None:
    net = with_clones(lost)
    for side, distance in zip(net.sides, distances, strict=True):
        side.distance = distance
    loses_first(net, lost)
    for side in reversed(net.sides):
        side.rekey(reauth=True)
    carry(net, 30)
    net.run(40)
    assert_one_new(net, 1)


@pytest.mark.parametrize("seed", range(4))
def test_over_a_bad_network(seed: int) -> None:
    net = with_clones(seed)
    net.link.loss, net.link.jitter, net.link.repeat = 0.3, 0.2, 0.2
    for side in net.sides:
        side.rekey(reauth=True)
    carry(net, 15)
    net.link.loss = net.link.repeat = 0.0
    net.run(150)
    carry(net, 2)
    net.run(2)
    assert_one_new(net, 1)


@pytest.mark.parametrize("seed", range(6))
def test_while_both_rekey_the_ike_sa(seed: int) -> None:
    """What one rekeys the other replaces: its Child SAs go on until the new IKE SA has some."""
    childless = {"childless": Childless.PREFER}
    net = watched(Network(seed=seed, west=childless, east=childless).established())
    net.link.jitter = 1.0
    for side in net.sides:
        side.rekey(reauth=True)
    for side in net.sides:
        side.rekey(ike=True)
    net.run(120)
    net.assert_consistent()
    assert [ike_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2


def test_while_both_rekey_the_child_sa() -> None:
    """The redundant successor comes to an IKE SA that has been replaced: it goes with it, and nothing else does."""
    net = watched(by_hand())
    cross(net, "east's request")
    net.west.rekey(reauth=True)
    for kind in (ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH):
        take(net.east, kind)
        take(net.west, kind, response=True)
    take(net.east, ExchangeType.CREATE_CHILD_SA, response=True)
    assert_one_tunnel(net)
    assert [side.kinds(Kind.IKE_DOWN, Kind.FAILED) for side in net.sides] == [[], []]


@pytest.mark.parametrize("first", ["west", "east"])
def test_connections_that_share_the_ike_sa_share_the_one_that_stays(first: str) -> None:
    net = watched(both_up())
    ask(net)
    one = getattr(net, first)
    take(net.peer(one), ExchangeType.IKE_AUTH)
    take(one, ExchangeType.IKE_AUTH, response=True)
    net.release()
    for _ in range(50):
        net.run(0.1)
        assert all(fallback(side, OTHER) for side in net.sides)
    net.run(40)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    assert counts(net) == [[1, 1], [1, 1]]
    for side in net.sides:
        assert tunnel(side, NAME).ike is tunnel(side, OTHER).ike is not None
    agree(net)


def fallback(side: Side, name: str) -> bool:
    """Whether a connection has an SA to send on that the peer receives on."""
    spi = side.backend.outbound.get((name, None))
    return spi is not None and side.backend.installed[spi].outbound_spi in side.network.peer(side).backend.installed


def test_one_that_starts_anew_while_it_authenticates_does_so_once() -> None:
    """Asked for twice before the peer has answered whether it has the IKE SA."""
    net = with_clones(1)
    for _ in range(2):
        net.east.rekey(reauth=True)
    carry(net, 5)
    assert_one_new(net, 1)
    assert [len(side.kinds(Kind.IKE_UP)) for side in net.sides] == [1, 1]


def test_without_a_way_to_the_peer_the_one_that_asks_is_told() -> None:
    net = with_clones(1)
    net.east.addresses()
    with pytest.raises(LocalError):
        net.east.rekey(reauth=True)


def test_the_way_may_be_gone_by_the_time_that_the_peer_has_answered() -> None:
    net = with_clones(1)
    net.east.rekey(reauth=True)
    net.east.endpoint.credentials = replace(net.east.endpoint.credentials, secrets=())
    net.run(1)
    assert net.east.kinds(Kind.FAILED)
    assert [ike_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2


def test_a_rekey_on_the_successor_of_an_ike_sa_that_both_rekey_and_one_authenticates_anew() -> None:
    """East's own rekey is lost. When it has given the former way, the Child SA is where west takes it to be."""
    net = watched(by_hand(childless=Childless.PREFER))
    net.east.rekey(ike=True)
    net.west.inbox.clear()
    net.west.rekey(reauth=True)
    net.east.take()
    net.west.take()
    net.west.rekey(ike=True)
    net.east.take(1)
    net.west.take()
    net.east.take()
    net.west.rekey()
    net.east.take(1)
    assert notifies(net.west, 1) == {NotifyType.TEMPORARY_FAILURE}
    net.west.take(1)
    assert_one_tunnel(net)
