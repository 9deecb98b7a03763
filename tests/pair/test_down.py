"""Connections that are taken down, at any moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.connection import Auto, Timing
from ikeclone.ike.actions import Kind
from tests.pair.network import Network
from tests.pair.scenario import assert_nothing_left


def test_down_of_a_connection_that_starts_by_itself_lasts_until_it_is_brought_up() -> None:
    net = Network(west={"auto": Auto.START, "timing": Timing(retransmit_timeout=10)})
    net.run(1)
    net.west.down()
    net.run(600)
    assert [side.children for side in net.sides] == [[], []]
    net.link.cut = True
    net.west.up()
    net.run(100)
    net.link.cut = False
    net.run_until(lambda: bool(net.west.children), limit=400)


def test_down_twice_while_a_request_is_under_way_is_down() -> None:
    net = Network(west={"timing": Timing(dpd_delay=5)}).established()
    net.west.rekey()
    net.west.down()
    net.west.down()
    net.run(120)
    for side in net.sides:
        assert (side.children, list(side.endpoint.ike_sas())) == ([], [])


def test_down_again_while_the_delete_awaits_its_answer_says_no_more() -> None:
    net = Network().established().hold()
    net.west.down()
    net.west.down()
    assert len(net.east.inbox) == 1
    net.release()
    net.run(120)
    assert_nothing_left(net)


@pytest.mark.parametrize("lifetime", ["ike_lifetime", "child_lifetime"])
def test_a_lifetime_that_ends_while_the_delete_awaits_its_answer_changes_nothing(lifetime: str) -> None:
    timing = replace(Timing(retransmit_timeout=60), **{lifetime: 100})
    net = Network(west={"timing": timing, "rekey": False}, east={"timing": timing, "rekey": False}).established()
    net.run(80)
    net.link.cut = True
    net.west.down()
    net.run_until(lambda: net.west.ike is None)
    assert net.now > 1000 + 130
    assert "no response to INFORMATIONAL for 60 seconds" in net.west.kinds(Kind.IKE_DOWN)[-1].text
    assert_nothing_left(net)


def test_down_before_the_peer_has_authenticated_itself() -> None:
    net = Network(east={"timing": Timing(dpd_delay=5, retransmit_timeout=10)}).hold()
    net.west.up()
    net.east.take()
    net.west.take()
    net.west.down()
    assert net.west.kinds(Kind.FAILED)[-1].text == "taken down"
    assert not list(net.west.endpoint.ike_sas())
    net.release()
    assert_nothing_left(net)


def test_up_right_after_down_is_up() -> None:
    net = Network().established()
    net.west.down()
    net.west.up()
    net.run(60)
    assert [len(side.children) for side in net.sides] == [1, 1]
    net.assert_consistent()
