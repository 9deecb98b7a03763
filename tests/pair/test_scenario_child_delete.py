"""Deleting a Child SA, message by message."""

from __future__ import annotations

import pytest

from ikeclone.ike.actions import Kind
from ikeclone.ike.child import ChildState
from ikeclone.numbers import NotifyType
from tests.pair.network import Network, Side
from tests.pair.scenario import (
    assert_no_child,
    assert_nothing,
    by_hand,
    delete,
    delete_ike,
    deleted,
    ike_sa,
    notifies,
    only_child,
    states,
)


@pytest.fixture
def net() -> Network:
    return by_hand()


def test_regular(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    ours, theirs = only_child(us).inbound_spi, only_child(peer).inbound_spi
    delete(us, only_child(us))
    assert states(us) == [ChildState.DELETING]
    assert deleted(peer) == [ours]
    peer.take()
    assert peer.children == []
    assert deleted(us) == [theirs]
    us.take()
    assert_no_child(net)
    assert [len(side.kinds(Kind.CHILD_DOWN)) for side in net.sides] == [1, 1]


def delete_both(net: Network) -> None:
    """Both sides delete; neither names its half in the answer, as it has said so itself (RFC 7296 section 1.4.1)."""
    for side in net.sides:
        delete(side, only_child(side))


def test_collision(net: Network) -> None:
    delete_both(net)
    for side in net.sides:
        side.take()
        assert side.children == []
    for side in net.sides:
        assert deleted(side) == []
        side.take()
    assert_no_child(net)
    assert [len(side.kinds(Kind.CHILD_DOWN)) for side in net.sides] == [1, 1]


def test_collision_drop(net: Network) -> None:
    """Of two crossing deletes one is lost: it finds nothing when it is repeated."""
    west, east = net.sides
    delete_both(net)
    west.inbox.popleft()
    east.take()
    west.take()
    assert west.children == east.children == []
    net.run(0.6)
    west.take()
    assert deleted(east) == []
    east.take()
    assert_no_child(net)
    assert [len(side.kinds(Kind.CHILD_DOWN)) for side in net.sides] == [1, 1]


def test_collision_ike_rekey(net: Network, roles: tuple[Side, Side]) -> None:
    """The delete is done, the rekey put off; then that is done too."""
    us, peer = roles
    before = ike_sa(us)
    delete(us, only_child(us))
    peer.rekey(ike=True)
    us.take()
    peer.take()
    assert notifies(peer) == {NotifyType.TEMPORARY_FAILURE}
    us.take()
    assert us.children == peer.children == []
    assert_no_child(net)
    assert ike_sa(us) is not before


def test_collision_ike_delete(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    delete(us, only_child(us))
    delete_ike(peer)
    us.take()
    peer.take()
    assert us.children == []
    assert_nothing(net)
