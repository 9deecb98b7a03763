"""Rekeying many SAs: in any order, by either side, spread over time, without losing a packet."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from ikeclone.connection import Timing
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import ChildState
from ikeclone.ike.rekey_child import RekeyChild
from ikeclone.ike.sa import IkeSa
from ikeclone.numbers import NotifyType
from ikeclone.wire.payloads import Notify
from tests.pair.groups import ask, assert_each_cpu_is_served_once, delete, traffic, traffic_until_quiet
from tests.pair.network import NAME, Network, Side
from tests.pair.scenario import ike_sa, watched

PER_CPU = {"clones": None}


@pytest.fixture
def net() -> Network:
    """Four clones on each side, all of them sending."""
    net = Network(cpus=(4, 4), west=PER_CPU, east=PER_CPU).established()
    for cpu in range(4):
        net.west.packet(cpu)
        net.run(2)
    return net


def ike(side: Side) -> IkeSa:
    assert side.ike is not None
    return side.ike


def rekey(side: Side, instance: int) -> None:
    """Let a side rekey one of its SAs."""
    child = next(c for c in side.children if c.instance == instance)
    ask(side, RekeyChild(ike(side), child))


def flood(net: Network, seconds: float, interval: float = 0.004) -> None:
    for _ in range(round(seconds / interval)):
        traffic(net)
        net.run(interval)


def bindings(side: Side) -> list[tuple[int, int | None, bool, bool]]:
    return [(c.instance, c.cpu, c.active, c.opened_by_us) for c in side.children]


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
@pytest.mark.parametrize("by", ["west", "east", "both", "in turn"])
def test_any_order_by_either_side(net: Network, order: tuple[int, ...], by: str) -> None:
    before = [bindings(side) for side in net.sides]
    spis = set(net.west.backend.installed)
    for turn, instance in enumerate(order):
        east = {"west": False, "east": True, "in turn": turn % 2 == 1}.get(by)
        # The east's instances are numbered in the order in which they came, as the west's are.
        for side in net.sides if east is None else (net.sides[east],):
            rekey(side, instance)
        flood(net, 0.1)
    net.run(10)
    assert [bindings(side) for side in net.sides] == before
    assert not spis & set(net.west.backend.installed)
    assert net.lost_packets == []
    assert_each_cpu_is_served_once(net)


@pytest.mark.parametrize("by", [0, 1])
def test_the_notify_in_a_rekey_changes_nothing(net: Network, monkeypatch: pytest.MonkeyPatch, by: int) -> None:
    """RFC 9611 section 3: a rekey may carry it or not."""
    before = [bindings(side) for side in net.sides]
    plain = RekeyChild.request

    def noted(self: RekeyChild, now: float) -> object:
        payloads = plain(self, now)
        return payloads and (*payloads, Notify(NotifyType.SA_RESOURCE_INFO, b"any"))

    monkeypatch.setattr(RekeyChild, "request", noted)
    net.sides[by].rekey()
    flood(net, 0.3)
    net.run(10)
    assert [bindings(side) for side in net.sides] == before
    assert net.lost_packets == []
    assert_each_cpu_is_served_once(net)


def test_100_rekeys_of_everything_lose_no_packet(net: Network) -> None:
    chance = Random(1)
    sent = sum(c.out_packets for side in net.sides for c in side.backend.counted.values())
    assert sent
    for number in range(100):
        side = chance.choice(net.sides)
        if number % 10 == 9:
            side.rekey(ike=True)
        else:
            rekey(side, chance.randrange(5))
        flood(net, chance.choice([0.004, 0.02, 0.1]))
    net.run(60)
    assert net.lost_packets == []
    assert_each_cpu_is_served_once(net)
    rekeyed = [len(side.kinds(Kind.CHILD_REKEYED)) for side in net.sides]
    assert min(rekeyed) >= 60


def times(side: Side) -> list[float]:
    """When a side will rekey its Child SAs."""
    timers = side.endpoint.host.timers
    return sorted(when for child in side.children if (when := timers.when(child, "rekey")) is not None)


@pytest.mark.parametrize("seed", range(5))
def test_64_clones_are_never_rekeyed_in_a_burst(seed: int) -> None:
    timing = Timing(child_lifetime=3600, margin=540, fuzz=1.0)
    both = {"clones": None, "timing": timing, "pfs": False}
    net = Network(cpus=(64, 64), west=both, east={**both, "rekey": False}, seed=seed)
    net.established()
    traffic(net, net.west)
    net.run(10)
    planned = times(net.west)
    assert len(planned) == 65
    assert all(later - earlier > 1 for earlier, later in pairwise(planned))
    assert planned[-1] - planned[0] > 500
    messages, most = len(net.seen), 0
    while net.now < 1000 + 3 * 3600:
        net.run(5)
        most, messages = max(most, len(net.seen) - messages), len(net.seen)
    # A rekey and the deletion of the old SA are four messages.
    assert most <= 4 * 4
    assert len(net.west.kinds(Kind.CHILD_REKEYED)) >= 3 * 65
    assert_each_cpu_is_served_once(net)


def test_two_sides_with_equal_times_do_not_meet_for_ever() -> None:
    timing = Timing(child_lifetime=300, margin=60, fuzz=1.0)
    both = {"clones": None, "timing": timing}
    net = Network(cpus=(16, 16), west=both, east=both).established()
    traffic(net, net.west)
    net.run(3)
    for _ in range(2000):
        traffic(net)
        net.run(1)
    assert net.lost_packets == []
    traffic_until_quiet(net, quiet=1)
    net.run(30)
    for side in net.sides:
        assert len(side.endpoint.tunnels[NAME].clones.clones) == 16
        assert len(side.kinds(Kind.CHILD_REKEYED)) >= 16 * 5


def test_rekey_and_delete_of_one_clone_at_once(net: Network) -> None:
    rekey(net.west, 2)
    delete(net.east, 2)
    flood(net, 0.5)
    net.run(20)
    flood(net, 0.1)
    net.run(5)
    assert net.lost_packets == []
    assert_each_cpu_is_served_once(net)


def test_clones_open_while_the_fallback_is_rekeyed() -> None:
    """A fallback that is being replaced is still one: no second fallback is made of a request for a clone."""
    net = Network(cpus=(4, 4), west=PER_CPU, east=PER_CPU).established()
    net.east.rekey()
    traffic(net, net.west)
    flood(net, 0.3)
    net.run(20)
    assert [c.cpu for c in net.west.children].count(None) == 1
    assert [c.cpu for c in net.east.children].count(None) == 1
    assert net.lost_packets == []
    assert_each_cpu_is_served_once(net)


def test_a_clone_that_comes_while_another_one_of_its_cpu_is_rekeyed_waits_for_the_delete_too() -> None:
    """East has one CPU for both of west's clones, and sends on an SA that west has at every moment."""
    net = Network(cpus=(2, 1)).established()
    net.west.packet(0)
    net.run(3)
    clone = net.east.children[1]
    net = watched(net.hold())
    sa = ike_sa(net.west)
    sa.enqueue(RekeyChild(sa, net.west.children[1]), net.now)
    net.settle(net.west)
    net.east.take()
    net.west.packet(1)
    net.east.take()
    assert (clone.state, clone.active) == (ChildState.REKEYED, True)
    assert not any(net.east.endpoint.host.timers.when(child, "activate") for child in net.east.children)
    net.run(0.4)
    net.release()
    net.run(5)
    assert clone not in net.east.children
    assert [c.cpu for c in net.east.children] == [None, 0, 0]
    assert sum(c.active for c in net.east.children if c.cpu == 0) == 1
    net.assert_consistent()
