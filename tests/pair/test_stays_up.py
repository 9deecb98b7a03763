"""Connections that shall stay up, and what becomes of the others, when their peer deletes the Child SA."""

from __future__ import annotations

import pytest

from ikeclone.connection import Auto
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from tests.pair.network import NAME, Network
from tests.pair.scenario import delete, only_child

SETTINGS = Settings(retry_delay=5, retry_delay_limit=40)


def tunnel_of(auto: Auto, clones: int = 0) -> Network:
    """West has this `auto=`; east brings nothing up by itself."""
    net = Network(west={"auto": auto, "clones": clones}, east={"clones": clones}, settings=SETTINGS)
    if auto is not Auto.START:
        net.west.up()
    net.run(2)
    return net


def delete_at(net: Network) -> float:
    """East deletes the Child SA; seconds until west has another one."""
    delete(net.east, only_child(net.east))
    net.run(1)
    begin = net.now
    assert net.west.children == []
    net.run_until(lambda: len(net.west.children) == len(net.east.children) == 1, 100)
    return net.now - begin


@pytest.mark.parametrize("auto", [Auto.START, Auto.KEEP])
def test_it_is_made_anew_on_the_same_ike_sa(auto: Auto) -> None:
    net = tunnel_of(auto)
    sa = net.west.ike
    assert 3 < delete_at(net) < 6
    assert net.west.ike is sa
    assert net.west.packet(0)
    net.run(5)
    assert net.lost_packets == []
    net.assert_consistent()


@pytest.mark.parametrize("auto", [Auto.ADD, Auto.ONDEMAND])
def test_others_stay_down(auto: Auto) -> None:
    net = tunnel_of(auto)
    delete(net.east, only_child(net.east))
    net.run(600)
    assert net.west.children == net.east.children == []
    assert (NAME in net.west.backend.policies) is (auto is Auto.ONDEMAND)


def test_ondemand_comes_back_with_a_packet() -> None:
    net = tunnel_of(Auto.ONDEMAND)
    delete(net.east, only_child(net.east))
    net.run(10)
    net.west.packet(0)
    net.run(2)
    assert len(net.west.children) == 1
    net.assert_consistent()


def test_pauses_grow_up_to_a_limit_and_start_anew_when_it_lasted() -> None:
    net = tunnel_of(Auto.START)
    pauses = [delete_at(net) for _ in range(6)]
    for pause, least in zip(pauses, (5, 10, 20, 40, 40, 40), strict=True):
        assert least - 1.5 < pause < 1.1 * least + 1
    net.run(60)
    assert delete_at(net) < 6


def test_a_refusal_is_no_end() -> None:
    net = tunnel_of(Auto.START)
    net.east.settings = net.east.endpoint.host.settings = Settings(regular_limit=0)
    delete(net.east, only_child(net.east))
    net.run(60)
    assert net.west.children == []
    assert len(net.west.kinds(Kind.FAILED)) >= 2
    net.east.endpoint.host.settings = SETTINGS
    net.run(60)
    assert len(net.west.children) == 1
    net.assert_consistent()


def test_what_is_taken_down_meanwhile_stays_down() -> None:
    net = tunnel_of(Auto.START)
    delete(net.east, only_child(net.east))
    net.run(1)
    net.west.down()
    net.run(600)
    assert [list(side.endpoint.ike_sas()) for side in net.sides] == [[], []]
    assert net.west.endpoint.host.timers.owners() == ()


def test_keep_is_for_what_was_up_once_whoever_brought_it_up() -> None:
    net = Network(west={"auto": Auto.KEEP, "clones": 0}, east={"clones": 0}, settings=SETTINGS)
    net.run(60)
    assert net.west.sent == []
    net.east.up()
    net.run(2)
    net.east.down()
    net.run(30)
    assert len(net.west.children) == 1
    net.assert_consistent()


def test_clones_come_back_after_the_fallback() -> None:
    net = tunnel_of(Auto.START, clones=2)
    net.west.packet(0)
    net.run(2)
    for child in list(net.east.children):
        delete(net.east, child)
    net.run(20)
    assert [child.cpu for child in net.west.children] == [None]
    net.west.packet(0)
    net.run(2)
    assert [child.cpu for child in net.west.children] == [None, 0]
    net.assert_consistent()
