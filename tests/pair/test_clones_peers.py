"""Peers with other habits: without RFC 9611, with odd identifiers, with duplicates, bursts and ports of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.backend import Remapped
from ikeclone.connection import Choice, ClonesMode, Timing
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.informational import DeleteChildren
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Message, parse_message, parse_payloads
from ikeclone.wire.payloads import Notify
from tests.pair.groups import (
    ask,
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


@pytest.mark.parametrize("mode", ClonesMode)
@pytest.mark.parametrize("knows", ["west", "east"])
def test_a_peer_without_clones_gets_one_regular_sa(knows: str, mode: ClonesMode) -> None:
    both = {"west": {"clones": 0}, "east": {"clones": 0}} | {knows: {"clones": None, "clones_mode": mode}}
    net = Network(cpus=(4, 4), west=both["west"], east=both["east"]).established()
    for _ in range(20):
        traffic(net)
        net.run(1)
    assert len(net.seen) == 4
    for side in net.sides:
        (child,) = side.children
        assert (child.name, child.cpu, child.active) == (NAME, None, True)
        counters = side.backend.counted[child.inbound_spi]
        assert (counters.out_packets, counters.in_packets) == (80, 80)


def test_the_notify_is_not_sent_to_a_peer_that_does_not_answer_it() -> None:
    net = Network(cpus=(4, 4), west=PER_CPU, east={"clones": 0}).established()
    assert net.west.ike is not None
    net.west.rekey()
    net.run(5)
    traffic(net, net.west)
    net.run(5)
    assert requests(net.west, ExchangeType.CREATE_CHILD_SA) == [2]


def test_a_peer_that_stops_answering_the_notify_gets_no_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network(cpus=(4, 4), west=PER_CPU, east=PER_CPU).established()
    monkeypatch.setattr(net.east.endpoint.tunnels[NAME], "resource", lambda cpu: None)
    for cpu in range(4):
        net.west.packet(cpu)
        net.run(2)
    assert cpus(net.west) == [None, 0]
    assert requests(net.west, ExchangeType.CREATE_CHILD_SA) == [2]
    for _ in range(3):
        traffic(net)
        net.run(1)
    assert net.lost_packets == []
    net.assert_consistent()


@pytest.mark.parametrize("identifier", [b"", b"\0", b"\xff" * 4, b"west's CPU 3", bytes(1000)])
def test_any_identifier_will_do(identifier: bytes) -> None:
    net = Network(west=PER_CPU, east=PER_CPU).established()
    create(net.west, 0, identifier)
    net.run(2)
    create(net.west, 1, identifier)
    net.run(2)
    assert cpus(net.west) == cpus(net.east) == [None, 0, 1]
    assert_each_cpu_is_served_once(net)


def sent_resources(net: Network, side: Side) -> list[bytes]:
    """The data of every SA_RESOURCE_INFO that a side sent while the network held what it sends."""
    peer = net.peer(side)
    payloads = [peer.read(index) for index in range(len(peer.inbox))]
    return [n.data for m in payloads for n in m.all(Notify) if n.type is NotifyType.SA_RESOURCE_INFO]


def test_our_identifiers_differ_and_reveal_no_cpu() -> None:
    net = Network(cpus=(4, 4), west=PER_CPU, east=PER_CPU).established()
    net.west.backend.online = frozenset({40, 41, 42, 43})
    net.hold()
    traffic(net, net.west)
    identifiers = sent_resources(net, net.west)
    assert len(set(identifiers)) == 4
    assert all(len(i) == 4 and int.from_bytes(i, "big") < 40 for i in identifiers)


def test_the_notify_of_the_fallback_is_empty() -> None:
    net = Network(west=PER_CPU, east=PER_CPU)
    net.west.up()
    net.run(0.025)
    net.hold()
    (sa,) = net.west.endpoint.ike_sas()
    (request,) = sa.requests.outstanding.values()
    (east,) = net.east.endpoint.ike_sas()
    message = parse_message(request.datagrams[0])
    opened = east.channel.open(message, request.datagrams[0])
    assert opened is not None
    inner = Message(message.header, parse_payloads(*opened))
    info = inner.notify(NotifyType.SA_RESOURCE_INFO)
    assert info is not None
    assert (info.data, info.protocol, info.spi) == (b"", 0, b"")


@pytest.mark.parametrize("count", [3, 20])
def test_duplicates_without_the_notify_are_kept_and_the_newest_sends(count: int) -> None:
    """What a Libreswan does that is brought up several times."""
    net = Network(west=PER_CPU, east=PER_CPU).established()
    traffic_until_quiet(net, quiet=5)
    create(net.west, None, None, count)
    net.run(3)
    assert cpus(net.east).count(None) == count + 1
    fallback = net.east.endpoint.tunnels[NAME].clones.fallback
    assert fallback is not None
    assert [c for c in net.east.children if c.active and c.cpu is None] == [fallback]
    assert fallback.serial == max(c.serial for c in net.east.children)
    traffic(net)
    net.run(1)
    assert net.lost_packets == []
    net.assert_consistent()


def test_a_duplicate_sends_once_the_peer_has_our_response() -> None:
    net = Network(west={"clones": 0}, east={"clones": 0}).established()
    create(net.west, None, None)
    while len(net.east.children) == 1:
        net.run(0.001)
    assert [child.active for child in net.east.children] == [True, False]
    net.run(3)
    assert [child.active for child in net.east.children] == [False, True]


def test_duplicates_do_not_keep_us_from_opening_clones() -> None:
    net = Network(west=PER_CPU, east=PER_CPU).established()
    create(net.west, None, None)
    net.run(3)
    traffic(net, net.east)
    net.run(3)
    assert cpus(net.east) == [None, None, 0, 1]


def test_duplicates_of_a_regular_sa_are_kept_oldest_deleted_first_or_last() -> None:
    for order in (1, -1):
        net = Network(west={"clones": 0}, east={"clones": 0}).established()
        create(net.west, None, None, 3)
        net.run(3)
        for child in net.west.children[::order][:3]:
            assert net.west.ike is not None
            ask(net.west, DeleteChildren(net.west.ike, (child,)))
            net.run(2)
            traffic(net)
        net.run(2)
        assert [len(side.children) for side in net.sides] == [1, 1]
        assert all(side.children[0].active for side in net.sides)
        assert net.lost_packets == []
        net.assert_consistent()


def test_a_burst_of_clones_is_spread_over_the_cpus_and_a_mass_deletion_leaves_one_tunnel() -> None:
    """What Libreswan proposes: the initiator makes all at once, and deletes them with the first SA when it rekeys."""
    net = Network(cpus=(4, 3), west=PER_CPU, east=PER_CPU).established()
    create(net.west, 0, b"", 6)
    net.run(3)
    assert cpus(net.east) == [None, 0, 0, 1, 1, 2, 2]
    assert sum(c.active for c in net.east.children) == 4
    old = net.west.children
    assert net.west.ike is not None
    create(net.west, None, b"")
    create(net.west, 0, b"", 6)
    net.run(3)
    assert "TS_MAX_QUEUE" in net.west.kinds(Kind.REFUSED)[0].text
    ask(net.west, DeleteChildren(net.west.ike, old))
    for _ in range(100):
        traffic(net)
        net.run(0.05)
    assert net.lost_packets == []
    assert not set(old) & set(net.west.children)
    assert_each_cpu_is_served_once(net)


def test_a_peer_that_deletes_everything_is_left_in_peace() -> None:
    net = Network(cpus=(4, 4), west=PER_CPU, east=PER_CPU).established()
    traffic_until_quiet(net, quiet=5)
    assert net.west.ike is not None
    for child in net.west.children:
        ask(net.west, DeleteChildren(net.west.ike, (child,)))
    messages = len(net.seen)
    net.run(100)
    assert [side.children for side in net.sides] == [[], []]
    assert requests(net.east, ExchangeType.CREATE_CHILD_SA) == [] or len(net.seen) - messages <= 10
    assert all(side.backend.policies == {} for side in net.sides)
    net.assert_consistent()


def test_esp_from_any_port_moves_neither_ike_nor_what_we_send() -> None:
    """A peer whose every SA has a source port of its own receives on its IKE port only."""
    both = {"clones": None, "encapsulation": Choice.YES}
    net = Network(cpus=(2, 2), west=both, east=both).established()
    traffic_until_quiet(net, quiet=5)
    assert net.east.ike is not None
    path = net.east.ike.path
    assert path.remote_port == 4500
    for number, child in enumerate(net.east.children):
        net.east.endpoint.remapped(Remapped(child.inbound_spi, replace(path, remote_port=50000 + number)), net.now)
        net.settle(net.east)
    assert net.east.ike.path == path
    assert all(child.path == path for child in net.east.children)


def test_regular_esp_from_another_port_is_answered_there() -> None:
    """Without clones it is a NAT that forgot the old port."""
    both = {"clones": 0, "encapsulation": Choice.YES}
    net = Network(west=both, east=both).established()
    assert net.east.ike is not None
    (child,), path = net.east.children, net.east.ike.path
    moved = replace(path, remote_port=50000)
    net.east.endpoint.remapped(Remapped(child.inbound_spi, moved), net.now)
    assert (net.east.ike.path, child.path) == (path, moved)


# The window


def most_outstanding(net: Network, side: Side) -> int:
    """The most requests that were on their way at a time while clones for every CPU were opened."""
    most = 0
    traffic(net, side)
    assert side.ike is not None
    for _ in range(2000):
        most = max(most, len(side.ike.requests.outstanding))
        net.run(0.005)
    return most


@pytest.mark.parametrize(("window", "expected"), [(1, 1), (2, 2), (8, 8), (32, 32)])
def test_requests_fill_the_peers_window_and_no_more(window: int, expected: int) -> None:
    net = Network(cpus=(64, 64), west=PER_CPU, east=PER_CPU)
    net.east.settings = Settings(window=window)
    net.east.start()
    net.established()
    assert most_outstanding(net, net.west) == expected
    assert cpus(net.west) == [None, *range(64)]
    assert_each_cpu_is_served_once(net)


def test_a_peer_that_announces_no_window_gets_one_request_at_a_time() -> None:
    net = Network(cpus=(16, 16), west=PER_CPU, east=PER_CPU).established()
    assert net.west.ike is not None
    net.west.ike.requests.size = 1
    assert most_outstanding(net, net.west) == 1
    assert cpus(net.west) == [None, *range(16)]


def test_after_an_ike_rekey_the_window_is_one_until_the_peer_announces_more() -> None:
    net = Network(cpus=(64, 64), west=PER_CPU, east=PER_CPU).established()
    net.west.rekey(ike=True)
    net.run(3)
    assert net.west.ike is not None
    assert net.west.ike.requests.size == 1
    assert most_outstanding(net, net.west) == 32
    assert_each_cpu_is_served_once(net)


@pytest.mark.parametrize("window", [1, 2])
def test_only_a_request_beyond_the_window_proves_that_our_answer_arrived(window: int) -> None:
    """A second request that was sent before our first answer says nothing of it: ESP on that SA might be lost."""
    net = Network(west=PER_CPU, east=PER_CPU, settings=Settings(window=window)).established().hold()
    traffic(net, net.west)
    net.east.take()
    if window == 1:
        net.west.take()
    net.east.take()
    assert [c.active for c in net.east.children] == [True, window == 1, False]


def test_a_clone_that_is_deleted_before_it_sends_never_does() -> None:
    net = Network(west=PER_CPU, east=PER_CPU).established().hold()
    net.west.packet(0)
    net.east.take()
    delete(net.east, 1)
    net.run(5)
    assert [c.active for c in net.east.children] == [True, False]
    net.release()
    net.run(5)
    assert cpus(net.east) == cpus(net.west) == [None]
    net.assert_consistent()


def test_a_request_on_its_way_counts_for_its_cpu() -> None:
    """The peer's clone goes to another CPU than the one that we ask for at the same moment."""
    net = Network(cpus=(1, 2), west=PER_CPU, east=PER_CPU).established()
    net.east.packet(0)
    net.west.packet(0)
    net.run(3)
    assert [(c.cpu, c.opened_by_us) for c in net.east.children] == [(None, False), (1, False), (0, True)]


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"\0\0\1", b"\xff" * 4, b"\0\0\0\0\1"])
def test_odd_windows_are_survived(data: bytes) -> None:
    net = Network(west=PER_CPU, east=PER_CPU).established()
    sa = net.west.ike
    assert sa is not None
    header = parse_message(net.seen[-1].data).header
    sa.requests.heed_window(Message(header, (Notify(NotifyType.SET_WINDOW_SIZE, data),)))
    assert 1 <= sa.requests.size <= 32


@pytest.mark.parametrize("seed", range(10))
def test_a_window_of_requests_survives_loss_repetition_and_reordering(seed: int) -> None:
    net = Network(cpus=(32, 32), west=PER_CPU, east=PER_CPU, seed=seed).established()
    net.link.loss, net.link.repeat, net.link.jitter = 0.2, 0.3, 0.3
    traffic_until_quiet(net)
    net.link.loss = net.link.repeat = net.link.jitter = 0.0
    net.run(10)
    assert_each_cpu_is_served_once(net)
    for side in net.sides:
        assert side.ike is not None
        assert len(side.ike.responses._answers) <= 64


def test_fragments_of_a_window_of_requests_may_mix() -> None:
    net = Network(cpus=(32, 32), west=PER_CPU, east=PER_CPU, settings=Settings(fragment_size=150))
    net.link.jitter = 0.2
    net.established()
    traffic_until_quiet(net)
    assert_each_cpu_is_served_once(net)


def test_an_ike_rekey_waits_for_the_requests_on_their_way_and_they_for_it() -> None:
    net = Network(cpus=(64, 64), west=PER_CPU, east=PER_CPU).established()
    traffic(net, net.west)
    net.west.rekey(ike=True)
    for _ in range(400):
        traffic(net, net.west)
        net.run(0.01)
    net.run(60)
    assert_each_cpu_is_served_once(net)
    assert len(net.west.kinds(Kind.IKE_REKEYED)) == 1
    assert net.lost_packets == []


def test_clones_that_wait_do_not_hide_a_dead_peer() -> None:
    timing = Timing(dpd_delay=5, retransmit_timeout=10)
    net = Network(cpus=(64, 64), west={"clones": None, "timing": timing}, east=PER_CPU, settings=Settings(window=1))
    net.established()
    net.link.cut = True
    since = net.now
    traffic(net, net.west)
    net.run_until(lambda: bool(net.west.kinds(Kind.IKE_DOWN)))
    assert net.now - since <= 20
    assert net.west.endpoint.tunnels[NAME].clones.pending == set()
