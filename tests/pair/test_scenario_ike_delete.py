"""Deleting an IKE SA, message by message."""

from __future__ import annotations

import pytest

from ikeclone.ike.actions import Kind
from ikeclone.ike.state import State
from ikeclone.numbers import ProtocolId
from ikeclone.wire.payloads import Delete
from tests.pair.scenario import assert_nothing, by_hand, delete_ike, ike_sa


@pytest.mark.parametrize("name", ["west", "east"])
def test_regular(name: str) -> None:
    net = by_hand()
    us, peer = (net.west, net.east) if name == "west" else (net.east, net.west)
    sa = ike_sa(us)
    delete_ike(us)
    assert sa.state is State.DELETING
    assert peer.read().payloads == (Delete(ProtocolId.IKE, ()),)
    peer.take()
    assert (peer.ike, peer.children) == (None, [])
    assert us.read().payloads == ()
    us.take()
    assert_nothing(net)
    assert [len(side.kinds(Kind.IKE_DOWN)) for side in net.sides] == [1, 1]


def test_collision() -> None:
    net = by_hand()
    for side in net.sides:
        delete_ike(side)
    for _ in range(2):
        for side in net.sides:
            side.take()
    assert_nothing(net)
    assert [len(side.kinds(Kind.IKE_DOWN)) for side in net.sides] == [1, 1]
