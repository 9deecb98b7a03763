"""The life of clones: opened by traffic or at once, idle, on CPUs that come and go, refused, deleted."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ikeclone.backend import ChildSa
from ikeclone.connection import Auto, ClonesMode, Timing
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.numbers import ExchangeType
from tests.pair.groups import (
    assert_each_cpu_is_served_once,
    cpus,
    create,
    delete,
    requests,
    traffic,
    traffic_until_quiet,
)
from tests.pair.network import NAME, Network, Side

PER_CPU = {"clones": None}
EAGER = {"clones": None, "clones_mode": ClonesMode.EAGER}
IDLE = {"clones": None, "clones_idle": 60.0}


def look_around(net: Network, seconds: float, interval: float = 5.0) -> None:
    """Let time pass, with the daemons' regular looks at their clones."""
    for _ in range(round(seconds / interval)):
        net.run(interval)
        for side in net.sides:
            side.survey()
    net.run(1)


# Eager


def test_eager_opens_every_clone_without_traffic() -> None:
    net = Network(cpus=(4, 4), west=EAGER, east=PER_CPU).established()
    net.run(3)
    for side in net.sides:
        assert cpus(side) == [None, 0, 1, 2, 3]
        assert all(child.active for child in side.children)
    net.assert_consistent()


@pytest.mark.parametrize("settings", [Settings(), Settings(window=1)])
def test_two_eager_sides_open_no_clone_twice(settings: Settings) -> None:
    net = Network(cpus=(4, 4), west=EAGER, east=EAGER, settings=settings, delay=0.2).established()
    net.run(30)
    for side in net.sides:
        assert cpus(side) == [None, 0, 1, 2, 3]
    assert len(requests(net.west, ExchangeType.CREATE_CHILD_SA)) == 4
    assert requests(net.east, ExchangeType.CREATE_CHILD_SA) == []


def test_an_eager_responder_opens_what_the_initiator_leaves() -> None:
    net = Network(cpus=(2, 4), west=EAGER, east=EAGER).established()
    net.run(10)
    assert cpus(net.east) == [None, 0, 1, 2, 3]
    assert cpus(net.west) == [None, 0, 0, 1, 1]
    assert [c.opened_by_us for c in net.east.children[1:]] == [False, False, True, True]


def test_eager_goes_on_after_a_temporary_failure() -> None:
    net = Network(cpus=(4, 4), west=EAGER, east=PER_CPU, settings=Settings(window=1))
    online = net.east.backend.online
    net.east.backend.online = frozenset()
    net.established()
    net.run(3)
    assert cpus(net.west) == [None]
    assert "TEMPORARY_FAILURE" in net.west.kinds(Kind.REFUSED)[0].text
    net.east.backend.online = online
    net.run(20)
    assert cpus(net.west) == [None, 0, 1, 2, 3]


def test_an_eager_clone_that_the_peer_deletes_waits_for_traffic() -> None:
    net = Network(west=EAGER, east=PER_CPU).established()
    net.run(3)
    delete(net.east, 1)
    net.run(200)
    assert len(net.west.children) == 2
    traffic(net, net.west)
    net.run(3)
    assert cpus(net.west) == [None, 0, 1]


# Idle


def test_idle_clones_go_in_one_message_and_come_back_with_traffic() -> None:
    net = Network(cpus=(4, 4), west=IDLE, east=PER_CPU).established()
    traffic_until_quiet(net, quiet=5)
    for _ in range(12):
        net.west.packet(2)
        net.run(5)
        net.west.survey()
    net.run(1)
    assert cpus(net.west) == [None, 2]
    assert len(requests(net.west, ExchangeType.INFORMATIONAL)) == 1
    messages = len(net.seen)
    look_around(net, 30)
    assert len(net.seen) == messages
    traffic(net, net.west)
    net.run(3)
    assert cpus(net.west) == [None, 0, 1, 2, 3]
    assert net.lost_packets == []
    net.assert_consistent()


def test_the_fallback_is_never_idle() -> None:
    net = Network(west=IDLE, east=IDLE).established()
    look_around(net, 600)
    assert cpus(net.west) == [None]
    assert len(net.seen) == 4


def test_what_the_peer_sends_keeps_a_clone() -> None:
    net = Network(west=IDLE, east=PER_CPU).established()
    net.west.packet(0)
    net.run(3)
    (cpu,) = [c.cpu for c in net.east.children if c.cpu is not None]
    assert cpu is not None
    for _ in range(40):
        net.east.packet(cpu)
        net.run(5)
        net.west.survey()
    assert cpus(net.west) == [None, 0]


def test_traffic_while_idle_clones_are_deleted_takes_the_fallback() -> None:
    net = Network(west=IDLE, east=IDLE).established()
    traffic_until_quiet(net, quiet=5)
    net.run(70)
    for side in net.sides:
        side.survey()
    for _ in range(200):
        traffic(net)
        net.run(0.001)
    net.run(5)
    assert net.lost_packets == []
    assert_each_cpu_is_served_once(net)


# CPUs that come and go


def test_a_clone_goes_with_its_cpu_and_the_peers_traffic_finds_another() -> None:
    net = Network(cpus=(2, 4), west=PER_CPU, east=PER_CPU).established()
    for cpu in range(4):
        net.east.packet(cpu)
        net.run(2)
    assert cpus(net.west) == [None, 0, 0, 1, 1]
    net.west.backend.online = frozenset({0, 7})
    net.west.survey()
    for _ in range(100):
        traffic(net)
        net.run(0.005)
    net.run(3)
    assert cpus(net.west) == [None, 0, 0, 7, 7]
    assert cpus(net.east) == [None, 0, 1, 2, 3]
    assert net.lost_packets == []
    assert_each_cpu_is_served_once(net)


@pytest.mark.parametrize("mode", ClonesMode)
def test_a_new_cpu_gets_a_clone_at_once_or_with_traffic(mode: ClonesMode) -> None:
    net = Network(west={"clones": None, "clones_mode": mode}, east=PER_CPU).established()
    traffic(net, net.west)
    look_around(net, 5)
    net.west.backend.online = frozenset({0, 1, 5})
    look_around(net, 5)
    assert (5 in cpus(net.west)) == (mode is ClonesMode.EAGER)
    net.west.packet(5)
    net.run(3)
    assert cpus(net.west) == [None, 0, 1, 5]


def test_no_clone_for_a_cpu_that_is_not_there() -> None:
    net = Network(west=PER_CPU, east=PER_CPU).established()
    net.west.packet(9)
    net.run(5)
    assert len(net.seen) == 4


# Limits and refusals


def test_a_limit_counts_cpus_and_not_the_peers_duplicates() -> None:
    net = Network(cpus=(4, 4), west={"clones": 2}, east={"clones": 4}).established()
    net.west.backend.online = frozenset({0})
    for cpu in range(3):
        net.east.packet(cpu)
        net.run(2)
    assert cpus(net.west) == [None, 0, 0, 0]
    net.west.backend.online = frozenset(range(4))
    traffic_until_quiet(net)
    assert {c.cpu for c in net.west.children} == {None, 0, 1} | {c.cpu for c in net.west.children if not c.opened_by_us}
    assert [c.cpu for c in net.west.children if c.opened_by_us] == [None, 1]


def test_a_refused_sender_waits_longer_each_time_and_sends_over_the_fallback() -> None:
    net = Network(cpus=(8, 1), west=PER_CPU, east={"clones": 1}).established()
    times = []
    refused = net.west.endpoint.tunnels[NAME].clones
    for _ in range(1000):
        before = refused.refusals
        traffic(net, net.west)
        net.run(1)
        if refused.refusals != before:
            times.append(net.now)
    assert len(net.west.children) == 3
    waits = [round((later - earlier) / 60) for earlier, later in pairwise(times)]
    assert waits == [1, 2, 4, 8]
    assert refused.refusals <= 6 + len(waits)
    assert net.lost_packets == []
    assert all("TS_MAX_QUEUE" in report.text for report in net.west.kinds(Kind.REFUSED))


def test_a_refused_sender_tries_again_at_once_when_the_connection_comes_up_anew() -> None:
    net = Network(cpus=(8, 1), west=PER_CPU, east={"clones": 1}).established()
    traffic_until_quiet(net, quiet=5)
    assert net.west.endpoint.tunnels[NAME].clones.refused_until > net.now
    net.west.down()
    net.run(1)
    net.east.backend.online = frozenset(range(4))
    net.west.up()
    traffic_until_quiet(net, quiet=5)
    assert set(cpus(net.west)) == {None, *range(8)}


def test_regular_sas_are_bounded_too() -> None:
    net = Network(west=PER_CPU, east=PER_CPU, settings=Settings(regular_limit=4)).established()
    create(net.west, None, None, count=10)
    net.run(5)
    assert cpus(net.east) == [None] * 4
    assert net.west.kinds(Kind.FAILED)[-1].text.endswith("the peer answers NO_ADDITIONAL_SAS")
    net.assert_consistent()


# Deletes and the end


@pytest.mark.parametrize("instance", [1, 2])
def test_a_clone_that_the_peer_deletes_is_opened_again_by_traffic_only(instance: int) -> None:
    net = Network(west=PER_CPU, east=PER_CPU).established()
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(2)
    before = cpus(net.west)
    delete(net.east, instance)
    net.run(500)
    assert len(net.west.children) == 2
    traffic(net, net.west)
    net.run(3)
    assert cpus(net.west) == before
    net.assert_consistent()


def test_a_fallback_that_the_peer_deletes_is_replaced_and_the_clones_stay() -> None:
    net = Network(cpus=(4, 4), west=PER_CPU, east=PER_CPU).established()
    traffic_until_quiet(net, quiet=5)
    clones = {c.inbound_spi for c in net.west.children if c.cpu is not None}
    fallback = net.west.children[0]
    delete(net.east, 0)
    net.run(10)
    assert {c.inbound_spi for c in net.west.children if c.cpu is not None} == clones
    assert net.west.children[0] is not fallback
    assert_each_cpu_is_served_once(net)


def test_a_fallback_is_replaced_although_the_peer_is_busy_at_first() -> None:
    net = Network(west=PER_CPU, east=PER_CPU).established()
    traffic_until_quiet(net, quiet=5)
    delete(net.east, 0)
    net.run(0.5)
    net.east.rekey(ike=True)
    net.run(60)
    assert_each_cpu_is_served_once(net)


def test_down_takes_64_clones_with_two_messages() -> None:
    net = Network(cpus=(64, 64), west=EAGER, east=PER_CPU).established()
    net.run(5)
    assert len(net.west.children) == 65
    messages = len(net.seen)
    net.west.down()
    net.run(1)
    assert len(net.seen) == messages + 2
    for side in net.sides:
        assert (side.children, side.backend.installed, side.ike) == ([], {}, None)
    net.run(200)
    net.assert_consistent()


@pytest.mark.parametrize("restarted", ["west", "east"])
@pytest.mark.parametrize("speaks", [True, False])
def test_after_a_restart_nothing_is_stale(restarted: str, speaks: bool) -> None:
    """The one that starts anew says INITIAL_CONTACT or, if it never speaks, is found dead."""
    timing = Timing(dpd_delay=10, retransmit_timeout=20)
    both = {"clones": None, "timing": timing}
    net = Network(cpus=(4, 4), west=both, east=both).established()
    traffic_until_quiet(net, quiet=5)
    side: Side = getattr(net, restarted)
    side.start()
    if speaks:
        side.up()
        net.run(1)
    net.run(100)
    net.assert_consistent()
    assert all(len(s.children) <= 1 for s in net.sides)
    net.west.up()
    net.run(1)
    for _ in range(20):
        traffic(net, net.west)
        net.run(10)
    assert_each_cpu_is_served_once(net)
    assert [len(list(s.endpoint.ike_sas())) for s in net.sides] == [1, 1]
    assert cpus(net.west) == cpus(net.east) == [None, 0, 1, 2, 3]


def test_clones_live_on_through_auto_start() -> None:
    net = Network(cpus=(4, 4), west={**EAGER, "auto": Auto.START}, east=PER_CPU)
    net.run(5)
    net.east.start()
    net.west.endpoint.tunnels[NAME].ike.lose(net.now, "gone")  # type: ignore[union-attr]
    net.settle(net.west)
    net.run(30)
    assert cpus(net.west) == [None, 0, 1, 2, 3]
    net.assert_consistent()


# Ports


ENCAP = {"clones": None, "clones_encap": True}


def ports(side: Side) -> dict[int, int]:
    """The UDP source port of each SA, by inbound SPI."""
    return {spi: sa.path.local_port for spi, sa in side.backend.installed.items()}


def test_every_clone_sends_from_a_port_of_its_own_while_it_lives() -> None:
    net = Network(cpus=(8, 8), west=ENCAP, east=PER_CPU).established()
    traffic_until_quiet(net, quiet=5)
    installed: list[ChildSa] = list(net.west.backend.installed.values())
    assert all(sa.udp_encapsulation and sa.path.remote_port == 4500 for sa in installed)
    clones = {sa.cpu: sa.path.local_port for sa in installed if sa.cpu is not None}
    assert len(set(clones.values())) == 8
    assert all(49152 <= port <= 65535 for port in clones.values())
    assert [sa.path.local_port for sa in installed if sa.cpu is None] == [4500]
    assert set(ports(net.east).values()) == {4500}
    for side in net.sides:
        side.rekey()
        net.run(5)
    again = {sa.cpu: sa.path.local_port for sa in net.west.backend.installed.values() if sa.cpu is not None}
    assert again == clones


def test_ports_of_1000_clones_differ() -> None:
    clones = Network().west.endpoint.tunnels[NAME].clones
    assert len({clones.port(instance) for instance in range(1, 1001)}) == 1000
