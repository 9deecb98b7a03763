"""Rekeying Child SAs and IKE SAs, by either side and by both at once."""

from __future__ import annotations

import pytest

from ikeclone.connection import Timing
from ikeclone.ike.actions import Kind
from tests.pair.network import Network, Side


@pytest.fixture(params=[1, 2, 3, 4, 5, 6])
def net(request: pytest.FixtureRequest) -> Network:
    """A tunnel with two clones; every seed makes another side's nonce the lowest."""
    net = Network(seed=request.param).established()
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(2)
    return net


@pytest.fixture(params=["west", "east"])
def side(request: pytest.FixtureRequest, net: Network) -> Side:
    chosen = getattr(net, request.param)
    assert isinstance(chosen, Side)
    return chosen


def bindings(side: Side) -> list[tuple[str, int | None, bool]]:
    return [(c.name, c.cpu, c.active) for c in side.children]


def ping_everything(net: Network, seconds: float, interval: float = 0.005) -> None:
    """Packets of every CPU of both sides all the while."""
    for _ in range(round(seconds / interval)):
        for side in net.sides:
            for cpu in side.backend.cpus():
                assert side.packet(cpu)
        net.run(interval)


def test_rekeyed_sas_stay_on_their_cpus(net: Network, side: Side) -> None:
    before = [bindings(s) for s in net.sides]
    spis = set(net.west.backend.installed)
    side.rekey()
    ping_everything(net, 0.5)
    net.run(5)
    assert [bindings(s) for s in net.sides] == before
    assert not spis & set(net.west.backend.installed)
    assert net.lost_packets == []
    net.assert_consistent()


def test_both_sides_rekey_at_once(net: Network) -> None:
    before = [bindings(s) for s in net.sides]
    net.west.rekey()
    net.east.rekey()
    ping_everything(net, 0.5)
    net.run(30)
    assert [bindings(s) for s in net.sides] == before
    assert net.lost_packets == []
    net.assert_consistent()


def test_ike_rekey_carries_every_child_over(net: Network, side: Side) -> None:
    before = [bindings(s) for s in net.sides]
    spis = set(net.west.backend.installed)
    assert net.west.ike is not None
    old = net.west.ike
    side.rekey(ike=True)
    ping_everything(net, 0.3)
    net.run(60)
    assert net.west.ike is not None
    assert net.east.ike is not None
    assert net.west.ike is not old
    assert net.west.ike.spi_i == net.east.ike.spi_i
    assert [bindings(s) for s in net.sides] == before
    assert set(net.west.backend.installed) == spis
    assert [len(list(s.endpoint.ike_sas())) for s in net.sides] == [1, 1]
    assert net.lost_packets == []
    net.west.rekey()
    net.run(5)
    net.assert_consistent()


def test_both_sides_rekey_the_ike_sa_at_once(net: Network) -> None:
    before = [bindings(s) for s in net.sides]
    net.west.rekey(ike=True)
    net.east.rekey(ike=True)
    ping_everything(net, 0.3)
    net.run(60)
    assert net.west.ike is not None
    assert net.east.ike is not None
    assert net.west.ike.spi_i == net.east.ike.spi_i
    assert [len(list(s.endpoint.ike_sas())) for s in net.sides] == [1, 1]
    assert [bindings(s) for s in net.sides] == before
    net.west.rekey()
    net.run(5)
    net.assert_consistent()


def test_child_rekey_meets_ike_rekey(net: Network) -> None:
    net.west.rekey()
    net.east.rekey(ike=True)
    ping_everything(net, 0.5)
    net.run(90)
    assert [len(list(s.endpoint.ike_sas())) for s in net.sides] == [1, 1]
    assert net.lost_packets == []
    net.assert_consistent()


def test_rekey_meets_down(net: Network) -> None:
    net.west.rekey()
    net.east.down()
    net.run(90)
    assert [s.children for s in net.sides] == [[], []]
    assert [len(list(s.endpoint.ike_sas())) for s in net.sides] == [0, 0]
    net.assert_consistent()


def test_lifetimes_rekey_everything_by_themselves() -> None:
    short = {"timing": Timing(ike_lifetime=300, child_lifetime=100, margin=20, fuzz=0.5)}
    net = Network(west=short, east=short).established()
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(2)
    before = [bindings(s) for s in net.sides]
    for _ in range(300):
        ping_everything(net, 0.01)
        net.run(2)
    assert [bindings(s) for s in net.sides] == before
    assert len(net.west.kinds(Kind.CHILD_REKEYED)) >= 10
    assert len(net.west.kinds(Kind.IKE_REKEYED)) >= 2
    assert net.lost_packets == []
    net.assert_consistent()


@pytest.mark.parametrize("seed", range(1, 21))
def test_rekeys_survive_a_bad_network(seed: int) -> None:
    short = {"timing": Timing(ike_lifetime=300, child_lifetime=100, margin=20, fuzz=1.0, retransmit_timeout=60)}
    net = Network(seed=seed, west=short, east=short).established()
    net.link.loss, net.link.repeat, net.link.jitter = 0.2, 0.1, 0.05
    for _ in range(400):
        for side in net.sides:
            side.packet(0)
        net.run(2)
    net.link.loss = net.link.repeat = net.link.jitter = 0.0
    net.run(5)
    for child_side in net.sides:
        assert child_side.children, "the tunnel is down"
    net.run(200)
    net.assert_consistent()
