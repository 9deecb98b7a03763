"""Packets bring up Child SAs at a peer that narrows: each request has the packet's selectors first."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from ikeclone.connection import Auto, Timing
from ikeclone.errors import SinglePairRequired
from ikeclone.ike import auth, create_child, first_child, sharing
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.negotiation import make_answer, respond
from ikeclone.ike.triggers import MOST, Packet
from ikeclone.numbers import ExchangeType
from ikeclone.selectors import TrafficSelector
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import TsI, TsR
from tests.pair.groups import requests
from tests.pair.network import EAST_END, NAME, Network
from tests.pair.several import OTHER, agree, carried, established, ping, selectors, two_for_one
from tests.pair.test_sharing import act, tunnel

WHOLE = ("192.0.2.0/24", "192.0.4.0/24", "192.0.6.0/24")
TIMING = Timing(margin=60, dpd_delay=10, retransmit_timeout=15)
PARTS = [f"{NAME}[{number}]" for number in (1, 2, 3)]


def narrowing(auto: Auto = Auto.ONDEMAND, **changes: object) -> Network:
    """West's connection is for three networks, east has two connections for one each."""
    wide = replace(EAST_END, selectors=selectors(WHOLE))
    net = Network(
        west={"remote": wide, "auto": auto, "clones": 0, "timing": TIMING, **changes},
        east={"clones": 0, "timing": TIMING, **changes},
    )
    net.east.endpoint.add(
        replace(net.east.conn, name=OTHER, local=replace(EAST_END, selectors=selectors(WHOLE[1:2]))), 0
    )
    return net


def packet(target: str, port: int | None = 443, protocol: int = 6) -> Packet:
    source = TrafficSelector.of(ip_network("192.0.1.7"), protocol, None if port is None else 50000)
    return source, TrafficSelector.of(ip_network(target), protocol, port)


def acquire(net: Network, *packets: Packet, seconds: float = 3) -> None:
    for each in packets:
        net.west.endpoint.acquire(NAME, 0, net.now, each)
        net.settle(net.west)
    net.run(seconds)


def test_each_packet_gets_the_part_that_the_peer_has_for_it() -> None:
    net = narrowing()
    whole = net.west.backend.policies[NAME]
    acquire(net, packet("192.0.4.9"))
    assert carried(net.west) == {PARTS[0]: ["192.0.1.0/24"]}
    assert net.west.backend.policies[PARTS[0]].remote == selectors(WHOLE[1:2])
    assert net.west.backend.policies[NAME] == whole
    acquire(net, packet("192.0.2.1"))
    assert net.west.backend.policies[PARTS[1]].remote == selectors(WHOLE[:1])
    assert carried(net.east) == {NAME: ["192.0.1.0/24"], OTHER: ["192.0.1.0/24"]}
    assert len(established(net.west)) == 1
    agree(net)
    ping(net)


def test_what_nobody_has_at_the_other_end_is_asked_for_once_in_a_while() -> None:
    """East narrows to what it has, which is not what the packet wants: that is not kept."""
    net = narrowing()
    acquire(net, packet("192.0.2.9"))
    acquire(net, packet("192.0.6.9"))
    assert any("TS_UNACCEPTABLE" in report.text for report in net.west.kinds(Kind.FAILED))
    assert list(carried(net.west)) == PARTS[:1]
    agree(net)
    sent = len(net.west.sent)
    acquire(net, packet("192.0.6.9", 80))
    assert len(net.west.sent) == sent
    net.run(60)
    acquire(net, packet("192.0.6.9", 80))
    assert len(net.west.sent) > sent
    acquire(net, packet("192.0.4.9"))
    assert sorted(carried(net.west)) == PARTS[:2]
    agree(net)


def test_packets_that_come_meanwhile_are_not_forgotten() -> None:
    net = narrowing()
    acquire(net, packet("192.0.2.9"), packet("192.0.2.10"), packet("192.0.6.9"), packet("192.0.4.9"))
    assert sorted(carried(net.west)) == PARTS[:2]
    sent = len(net.west.sent)
    acquire(net, packet("192.0.2.11"))
    assert len(net.west.sent) == sent
    agree(net)


def test_more_refusals_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody scans a network that the peer has not: the latest addresses are left alone, the first asked for anew.

    Each is asked for twice, with other traffic and without.
    """
    monkeypatch.setattr("ikeclone.ike.triggers.MOST", 3)
    net = narrowing()
    acquire(net, packet("192.0.2.9"))
    for number in (1, 2, 3, 4, 5, 3, 4, 5):
        acquire(net, packet(f"192.0.6.{number}"))
    assert len(requests(net.west, ExchangeType.CREATE_CHILD_SA)) == 10
    acquire(net, packet("192.0.6.1"))
    assert len(requests(net.west, ExchangeType.CREATE_CHILD_SA)) == 12
    agree(net)


def test_more_packets_than_are_remembered() -> None:
    net = narrowing()
    acquire(net, *(packet("192.0.2.9", port) for port in range(1, MOST + 10)), packet("192.0.4.9"))
    assert sorted(carried(net.west)) == PARTS[:2]


def test_a_packet_that_is_none_of_the_connection_is_forgotten() -> None:
    net = narrowing()
    acquire(net, packet("198.51.100.1"))
    assert list(carried(net.west)) == PARTS[:1]
    sent = len(net.west.sent)
    net.run(30)
    assert len(net.west.sent) <= sent + 3  # liveness
    agree(net)


def test_a_peer_that_takes_it_all_is_asked_once() -> None:
    net = Network(west={"auto": Auto.ONDEMAND, "clones": 0}, east={"clones": 0})
    acquire(net, packet("192.0.2.9"))
    assert net.west.endpoint.tunnels.keys() == net.west.backend.policies.keys() == {NAME}
    (child,) = net.west.children
    assert child.agreement.remote == EAST_END.selectors
    act(net.west, "up", NAME)
    assert net.west.kinds(Kind.CHILD_UP)[-1].text == "the connection is up already"
    net.assert_consistent()


def test_packets_of_what_the_peer_narrows_without_a_trap() -> None:
    """It has what the peer leaves of it; nothing leads packets of the rest to us."""
    net = narrowing(Auto.ADD)
    act(net.west, "up", NAME)
    assert list(carried(net.west)) == [NAME]
    act(net.west, "up", NAME)
    assert len(net.west.backend.installed) == 1
    agree(net)


def test_up_is_content_with_a_part_and_down_leaves_the_trap() -> None:
    net = narrowing()
    act(net.west, "up", NAME)
    assert list(carried(net.west)) == PARTS[:1]
    act(net.west, "up", NAME)
    assert net.west.kinds(Kind.CHILD_UP)[-1].text == "the connection is up already"
    act(net.west, "down", NAME)
    assert net.west.backend.policies.keys() == {NAME}
    assert not net.west.backend.installed
    acquire(net, packet("192.0.4.9"))
    assert list(carried(net.west)) == PARTS[:1]


def test_a_part_asks_for_its_own_clones_and_for_nothing_else() -> None:
    net = narrowing(clones=2)
    acquire(net, packet("192.0.4.9"))
    net.west.endpoint.acquire(PARTS[0], 1, net.now, packet("192.0.4.9"))
    net.settle(net.west)
    net.run(3)
    assert sorted(child.name for child in tunnel(net.west, PARTS[0]).clones) == [f"{PARTS[0]}-0", f"{PARTS[0]}-1"]
    agree(net)
    part = tunnel(net.west, PARTS[0])
    act(net.west, "down", PARTS[0])
    sent = len(net.west.sent)
    part.acquire(0, net.now, packet("192.0.4.9"))
    net.settle(net.west)
    assert len(net.west.sent) == sent


def test_an_acquire_that_knows_no_packet_asks_for_all() -> None:
    net = narrowing()
    net.west.endpoint.acquire(NAME, 0, net.now)
    net.settle(net.west)
    net.run(3)
    assert list(carried(net.west)) == PARTS[:1]


@pytest.mark.parametrize("ike", [False, True])
def test_rekeys_keep_each_part(ike: bool) -> None:
    net = narrowing()
    acquire(net, packet("192.0.2.9"), packet("192.0.4.9"))
    for side in net.sides:
        act(side, "rekey", NAME, ike)
    assert sorted(carried(net.west)) == PARTS[:2]
    agree(net)
    ping(net)


def test_reauthentication_renews_the_parts() -> None:
    net = narrowing()
    acquire(net, packet("192.0.4.9"), packet("192.0.2.9"))
    before = set(net.west.backend.installed)
    tunnel(net.west, NAME).rekey(net.now, False, reauth=True)
    net.settle(net.west)
    ping(net, 100)
    net.run(60)
    assert before.isdisjoint(net.west.backend.installed)
    assert sorted(carried(net.west)) == PARTS[:2]
    assert len(established(net.west)) == 1
    agree(net)


def test_a_dead_peer_is_asked_again() -> None:
    net = narrowing()
    acquire(net, packet("192.0.2.9"))
    net.link.cut = True
    net.run(60)
    assert net.west.backend.policies.keys() == {NAME}
    net.link.cut = False
    acquire(net, packet("192.0.4.9"), seconds=120)
    assert carried(net.west)
    agree(net)


def test_we_keep_no_more_parts_than_there_may_be() -> None:
    net = narrowing()
    net.west.endpoint.host.settings = Settings(regular_limit=1)
    acquire(net, packet("192.0.2.9"), packet("192.0.4.9"))
    assert list(carried(net.west)) == PARTS[:1]
    assert any("enough" in report.text for report in net.west.kinds(Kind.FAILED))
    agree(net)


def test_a_refusal_for_now_keeps_the_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    net = narrowing()
    acquire(net, packet("192.0.2.9"))
    sa = tunnel(net.east, NAME).ike
    assert sa is not None
    tunnel(net.east, NAME).rekey(net.now, True)
    acquire(net, packet("192.0.4.9"), seconds=30)
    net.settle(net.east)
    net.run(30)
    assert sorted(carried(net.west)) == PARTS[:2]
    agree(net)


def test_a_peer_that_chooses_other_traffic_is_asked_for_that_of_the_packet_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not look at which selectors are the first."""
    for module in (auth, sharing):
        monkeypatch.setattr(module, "has_first", lambda *_: True)
    net = narrowing()
    acquire(net, packet("192.0.4.9"))
    found = {str(net.west.backend.policies[name].remote[0]) for name in carried(net.west)}
    assert found == {"192.0.2.0/24", "192.0.4.0/24"}
    assert not net.west.kinds(Kind.FAILED)
    agree(net)
    ping(net)


def test_a_part_without_traffic_goes_after_its_clones_and_comes_back_with_traffic() -> None:
    net = narrowing(clones=2, clones_idle=60.0)
    acquire(net, packet("192.0.2.9"), packet("192.0.4.9"))
    net.west.endpoint.acquire(PARTS[0], 0, net.now)
    net.settle(net.west)
    left = []
    for _ in range(30):
        net.west.packet(0, name=PARTS[1])
        net.run(5)
        net.west.survey()
        left.append(len([sa for sa in net.west.backend.installed.values() if sa.connection == PARTS[0]]))
    assert sorted(set(left), key=left.index) == [2, 1, 0]
    assert list(carried(net.west)) == PARTS[1:2]
    acquire(net, packet("192.0.2.9"))
    assert sorted(carried(net.west)) == PARTS[:2]
    agree(net)


def test_what_does_not_come_back_with_traffic_stays() -> None:
    net = two_for_one(clones_idle=60.0)
    for _ in range(30):
        net.run(5)
        net.west.survey()
    assert sorted(carried(net.west)) == [NAME, PARTS[0]]


# A peer that takes single pairs of addresses only


def pairs_only(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The responder refuses what is for more; returns how many selectors it was asked for, each time."""
    asked: list[tuple[int, int]] = []

    def check(message: Message) -> None:
        both = message.require(TsI).selectors, message.require(TsR).selectors
        asked.append((len(both[0]), len(both[1])))
        if any(len(each) != 1 or each[0].first != each[0].last for each in both):
            raise SinglePairRequired

    def answering(*arguments: object) -> object:
        check(arguments[2])  # type: ignore[arg-type]
        return respond(*arguments)  # type: ignore[arg-type]

    def answer(*arguments: object) -> object:
        check(arguments[2])  # type: ignore[arg-type]
        return make_answer(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(create_child, "respond", answering)
    monkeypatch.setattr(first_child, "make_answer", answer)
    return asked


def test_a_single_pair_is_asked_for_when_the_peer_wants_that(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pairs_only(monkeypatch)
    net = narrowing()
    acquire(net, packet("192.0.2.9"), packet("192.0.2.10"), packet("192.0.2.9", 80))
    assert asked == [(2, 4), (1, 1), (1, 1)]
    assert [str(net.west.backend.policies[name].remote[0]) for name in PARTS[:2]] == ["192.0.2.9/32", "192.0.2.10/32"]
    assert str(net.west.backend.policies[PARTS[0]].local[0]) == "192.0.1.7/32"
    agree(net)
    ping(net)


def test_without_a_packet_it_is_the_first_pair_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pairs_only(monkeypatch)
    hosts = {"local": ("192.0.1.7/32",), "remote": ("192.0.2.9/32", "192.0.2.10/32")}
    net = Network(west={"clones": 0}, east={"clones": 0})
    west = tunnel(net.west, NAME)
    local, remote = (replace(getattr(net.west.conn, end), selectors=selectors(hosts[end])) for end in hosts)
    west.connection = replace(net.west.conn, local=local, remote=remote)
    act(net.west, "up", NAME)
    assert asked == [(1, 2), (1, 1)]
    assert net.west.backend.policies[NAME].remote[0].first == ip_address("192.0.2.9")
    agree(net)


def test_a_network_is_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pairs_only(monkeypatch)
    net = Network(west={"clones": 0}, east={"clones": 0})
    act(net.west, "up", NAME)
    assert asked == [(1, 1), (1, 1)]
    assert any("SINGLE_PAIR_REQUIRED" in report.text for report in net.west.kinds(Kind.FAILED))
    assert not net.west.backend.installed
