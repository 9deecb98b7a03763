"""Packets that find no SA bring a connection up, but do not ask a peer again and again that does not want it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from ikeclone.connection import Auto
from ikeclone.credentials import Credentials
from ikeclone.ike.actions import Kind
from tests.pair.network import NAME, SECRET, Network
from tests.pair.scenario import assert_one_tunnel


def refused() -> Network:
    """East has another key."""
    net = Network(west={"auto": Auto.ONDEMAND})
    net.east.credentials = Credentials((replace(SECRET, key=b"another"),))
    net.east.start()
    return net


def traffic(net: Network, seconds: int) -> list[float]:
    """A packet each second; when that led to nothing."""
    failures = []
    for _ in range(seconds):
        before = len(net.west.kinds(Kind.FAILED))
        net.west.packet(0)
        net.run(1)
        failures += [net.now] * (len(net.west.kinds(Kind.FAILED)) - before)
    return failures


def pauses(times: list[float]) -> list[int]:
    return [round(later - earlier) for earlier, later in pairwise(times)]


def test_the_pauses_grow_up_to_a_minute() -> None:
    # Each is over with the first packet after it.
    assert pauses(traffic(refused(), 210)) == [6, 11, 21, 41, 61, 61]


def test_a_user_does_not_wait_and_success_ends_the_pauses() -> None:
    net = refused()
    assert len(traffic(net, 20)) == 3
    net.east.credentials = Credentials((SECRET,))
    net.east.start()
    net.west.up()
    assert_one_tunnel(net)
    net.west.down()
    net.run(1)
    net.west.packet(0)
    net.run(1)
    assert_one_tunnel(net)


def test_other_addresses_are_a_reason_to_try_at_once() -> None:
    net = refused()
    assert len(traffic(net, 20)) == 3
    net.west.addresses(str(net.west.address), "192.1.2.99")
    assert len(traffic(net, 2)) == 1


def test_one_that_cannot_even_be_tried_is_tried_as_seldom() -> None:
    net = refused()
    net.west.credentials = Credentials(())
    net.west.start()
    assert pauses(traffic(net, 40)) == [5, 10, 20]


def test_a_peer_may_be_away_for_years() -> None:
    net = Network(west={"auto": Auto.START}, east={})
    net.link.cut = True
    net.west.start()
    revival = net.west.endpoint.tunnel(NAME).revival
    assert {revival.next_delay() > 300 for _ in range(2000)} == {True, False}
    net.link.cut = False
    net.run(400)
    assert_one_tunnel(net)
