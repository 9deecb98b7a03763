"""Child SAs that end with what they have carried: ipsec-max-bytes=, ipsec-max-packets= and the sequence numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.backend import SEQUENCE_NUMBERS, Expire, Limits, Volume
from ikeclone.connection import Timing
from ikeclone.crypto.registry import parse_esp
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import Child, ChildState
from ikeclone.ike.rekey_ike import RekeyIke
from tests.pair.network import NAME, Network, Side
from tests.pair.scenario import assert_nothing, assert_one_tunnel, by_hand, ike_sa, only_child

PACKETS, SIZE = 100, 84


def carried(side: Side) -> dict[int, int]:
    """Packets by inbound SPI, the larger of the two directions."""
    return {spi: max(c.in_packets, c.out_packets) for spi, c in side.backend.counted.items()}


def send(net: Network, count: int, *, cpu: int = 0, pause: float = 0.05) -> None:
    """Packets of the west, one after the other; none is lost."""
    for _ in range(count):
        assert net.west.packet(cpu, SIZE)
        net.run(pause)
        for side in net.sides:
            assert all(packets < PACKETS for packets in carried(side).values())
    assert net.lost_packets == []


def limits(child: Child) -> tuple[int, int]:
    """Soft and hard, in packets."""
    assert child.limits.soft.packets is not None
    assert child.limits.hard.packets is not None
    return child.limits.soft.packets, child.limits.hard.packets


@pytest.mark.parametrize("volume", [Volume(packets=PACKETS), Volume(octets=PACKETS * SIZE)])
@pytest.mark.parametrize("whose", ["both", "west", "east"])
def test_a_regular_sa_is_rekeyed_by_what_it_carried(volume: Volume, whose: str) -> None:
    settings = {
        side: {"clones": 0, "volume": volume if whose in ("both", side) else Volume()} for side in ("west", "east")
    }
    net = Network(west=settings["west"], east=settings["east"]).established()
    send(net, 300)
    for side in net.sides:
        assert 3 <= len(side.kinds(Kind.CHILD_REKEYED)) <= 8
        assert side.kinds(Kind.CHILD_DOWN, Kind.FAILED) == []
    net.run(60)
    net.assert_consistent()


def test_clones_are_rekeyed_by_what_they_carried_and_stay_on_their_cpus() -> None:
    settings = {"clones": 2, "volume": Volume(packets=PACKETS)}
    net = Network(west=settings, east=settings).established()
    for _ in range(4):
        for cpu in (0, 1):
            send(net, 60, cpu=cpu)
    net.run(60)
    assert [c.cpu for c in net.west.children] == [None, 0, 1]
    assert len(net.west.kinds(Kind.CHILD_REKEYED)) >= 4
    net.assert_consistent()


def test_who_opened_the_sa_is_the_first_to_rekey_it() -> None:
    settings = {"clones": 0, "volume": Volume(packets=8000)}
    for seed in range(1, 6):
        net = Network(west=settings, east=settings, seed=seed).established()
        (ours, hard), (theirs, other) = (limits(side.children[0]) for side in net.sides)
        assert 3000 <= ours <= 4000 <= theirs <= 5000
        assert hard == other == 8000


def test_sequence_numbers_are_a_limit_unless_they_are_extended() -> None:
    net = Network(west={"clones": 0}, east={"clones": 0}).established()
    soft, hard = limits(net.west.children[0])
    assert hard == SEQUENCE_NUMBERS
    assert 3 * 2**32 // 8 < soft < 2**31
    extended = {"clones": 0, "esp": parse_esp("aes_gcm256-esn")}
    net = Network(west=extended, east=extended).established()
    assert net.west.children[0].agreement.suite.esn
    assert net.west.children[0].limits == Limits()


def test_sequence_numbers_that_end_are_replaced_before() -> None:
    net = Network(west={"clones": 0}, east={"clones": 0}).established()
    (old,) = net.west.children
    for sa in net.west.backend.installed.values():
        counted = net.west.backend.counted[sa.inbound_spi]
        counted.out_packets = (sa.limits.soft.packets or 0) - 1
    assert net.west.packet(0)
    net.run(5)
    (new,) = net.west.children
    assert new is not old
    assert net.west.kinds(Kind.CHILD_DOWN) == []
    net.assert_consistent()


def test_an_sa_that_cannot_be_rekeyed_ends_and_another_takes_its_place() -> None:
    settings = {"clones": 0, "volume": Volume(packets=PACKETS)}
    net = Network(west=settings, east=settings).established()
    net.link.cut = True
    for _ in range(PACKETS):
        assert net.west.packet(0)
        net.run(0.01)
    net.link.cut = False
    net.run(30)
    assert all(child.state is ChildState.INSTALLED for child in net.west.children)
    assert carried(net.west)[net.west.children[0].inbound_spi] == 0
    assert net.west.packet(0)
    net.run(1)
    net.assert_consistent()


def test_without_rekeying_the_sa_ends() -> None:
    settings = {"clones": 0, "rekey": False, "volume": Volume(packets=PACKETS)}
    net = Network(west=settings, east=settings).established()
    assert net.west.children[0].limits.soft == Volume()
    for _ in range(PACKETS):
        assert net.west.packet(0)
        net.run(0.05)
    net.run(5)
    assert [side.children for side in net.sides] == [[], []]
    assert net.west.kinds(Kind.CHILD_REKEYED) == []
    net.assert_consistent()


def test_without_rekeying_the_sa_ends_with_its_lifetime() -> None:
    settings = {"clones": 0, "rekey": False, "timing": Timing(child_lifetime=300)}
    net = Network(west=settings, east=settings).established()
    net.run(290)
    assert [len(side.children) for side in net.sides] == [1, 1]
    net.run(20)
    assert [side.children for side in net.sides] == [[], []]
    assert len(list(net.west.endpoint.ike_sas())) == 1


def test_the_limit_is_heeded_while_the_ike_sa_is_rekeyed() -> None:
    settings = {"clones": 0, "volume": Volume(packets=PACKETS)}
    net = Network(west=settings, east=settings, delay=0.2).established()
    for _ in range(10):
        sa = ike_sa(net.west)
        sa.enqueue(RekeyIke(sa), net.now)
        net.settle(net.west)
        send(net, 25, pause=0.1)
    net.run(60)
    assert len(net.west.kinds(Kind.CHILD_REKEYED)) >= 3
    assert net.west.kinds(Kind.CHILD_DOWN) == []
    net.assert_consistent()


def test_a_rekeyed_sa_starts_at_nothing() -> None:
    settings = {"clones": 0, "volume": Volume(packets=PACKETS)}
    net = Network(west=settings, east=settings).established()
    net.west.rekey()
    net.run(5)
    installed = net.west.backend.installed[net.west.children[0].inbound_spi]
    assert replace(installed.limits, soft=Volume()) == Limits(hard=Volume(packets=PACKETS))
    assert installed.connection == NAME


def test_a_limit_that_is_told_twice_leads_to_one_rekey() -> None:
    net = by_hand()
    old = only_child(net.west)
    for _ in range(2):
        expire(net.west, old, hard=False)
    assert len(net.east.inbox) == 1
    assert_one_tunnel(net)
    assert only_child(net.west) is not old


@pytest.mark.parametrize("hard", [False, True])
def test_a_limit_that_is_reached_while_the_connection_is_taken_down_changes_nothing(hard: bool) -> None:
    net = by_hand()
    child = only_child(net.west)
    net.west.down()
    expire(net.west, child, hard=hard)
    assert len(net.east.inbox) == 1
    assert_nothing(net)


def expire(side: Side, child: Child, *, hard: bool) -> None:
    """The data plane says that a Child SA has reached a limit."""
    side.endpoint.expire(Expire(child.inbound_spi, hard), side.network.now)
    side.network.settle(side)
