"""Rekeying a Child SA with additional key exchanges, message by message: alone, by both at once, across its delete.

Of two such exchanges the one with the lowest nonce stops before its IKE_FOLLOWUP_KE (RFC 9370 section 2.2.4).
"""

from __future__ import annotations

import pytest

from ikeclone.crypto.registry import parse_esp
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import ChildState
from ikeclone.numbers import ExchangeType, NotifyType
from tests.pair.network import Network, Side
from tests.pair.scenario import (
    MIXED,
    MULTI_KE,
    NONCES,
    OF_WEST,
    assert_never_down,
    assert_no_child,
    assert_one_tunnel,
    by_hand,
    cross,
    delete,
    deleted,
    draw,
    follow,
    notifies,
    only_child,
    rounds,
    states,
)

INSTALLED, REKEYING, REKEYED, DELETING = (
    ChildState.INSTALLED,
    ChildState.REKEYING,
    ChildState.REKEYED,
    ChildState.DELETING,
)


@pytest.fixture
def net() -> Network:
    return by_hand(**MULTI_KE)


def test_regular_multi_ke(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    us.rekey()
    peer.take()
    us.take()
    assert (states(us), states(peer)) == ([REKEYING], [INSTALLED])
    follow(us, peer)
    old, new = peer.children
    assert (old.state, old.active, new.state, new.active) == (REKEYED, True, INSTALLED, False)
    old, new = us.children
    assert (old.state, old.active, new.state, new.active) == (DELETING, False, INSTALLED, True)
    assert_one_tunnel(net)
    assert_never_down(net)
    assert [len(side.kinds(Kind.CHILD_REKEYED)) for side in net.sides] == [1, 1]
    assert rounds(net) == 2


@pytest.mark.parametrize("name", ["west", "east"])
def test_regular_ke_invalid_multi_ke(name: str) -> None:
    west, east = ({"esp": parse_esp(f"aes_gcm256-{kes}-ke1_ecp384-ke2_x448")} for kes in ("dh31+dh19", "dh19+dh31"))
    net = by_hand(west, east)
    us, peer = (net.west, net.east) if name == "west" else (net.east, net.west)
    us.rekey()
    peer.take()
    assert notifies(us) == {NotifyType.INVALID_KE_PAYLOAD}
    us.take()
    peer.take()
    assert notifies(us) == {NotifyType.ADDITIONAL_KEY_EXCHANGE}
    us.take()
    assert (states(us), states(peer)) == ([REKEYING], [INSTALLED])
    follow(us, peer)
    assert (states(us), states(peer)) == ([DELETING, INSTALLED], [REKEYED, INSTALLED])
    assert_one_tunnel(net)
    assert_never_down(net)


def test_collision_multi_ke(net: Network, lowest: str) -> None:
    cross(net, lowest)
    west, east = net.sides
    west.take()
    east.take()
    loser, winner = (west, east) if lowest in OF_WEST else (east, west)
    assert (states(loser), states(winner)) == ([INSTALLED], [REKEYING])
    assert not winner.inbox
    follow(winner, loser)
    assert (states(loser), states(winner)) == ([REKEYED, INSTALLED], [DELETING, INSTALLED])
    assert deleted(loser) == [winner.children[0].inbound_spi]
    assert_one_tunnel(net)
    assert_never_down(net)
    assert rounds(net) == 2


def test_collision_mixed(lowest: str) -> None:
    """Only west's exchange has additional key exchanges. East's makes its SA at once, and deletes it if it loses."""
    net = by_hand(MIXED["west"], MIXED["east"])
    cross(net, lowest)
    west, east = net.sides
    assert (states(west), states(east)) == ([REKEYING, INSTALLED], [REKEYING])
    west.take()
    east.take()
    if lowest in OF_WEST:
        assert (states(west), states(east)) == ([REKEYED, INSTALLED], [DELETING, INSTALLED])
        assert deleted(west) == [east.children[0].inbound_spi]
    else:
        assert (states(west), states(east)) == ([REKEYING, INSTALLED], [INSTALLED, DELETING])
        assert east.children[0].active
        follow(west, east)
        assert (states(west), states(east)) == ([DELETING, REKEYED, INSTALLED], [REKEYED, DELETING, INSTALLED])
    assert_one_tunnel(net)
    assert_never_down(net)
    assert rounds(net) == (0 if lowest in OF_WEST else 2)


def test_collision_delayed_response_multi_ke(net: Network, lowest: str) -> None:
    """East's answer reaches the west after all that east did because of west's answer, its delete included."""
    cross(net, lowest)
    west, east = net.sides
    east.take()
    if lowest in OF_WEST:
        for _ in range(2):
            west.take(1)
            east.take()
        assert (states(west), states(east)) == ([REKEYING, INSTALLED], [DELETING, INSTALLED])
        west.take(1)
        east.take()
        west.take()
        assert states(west) == states(east) == [INSTALLED]
        assert not east.inbox
    else:
        assert len(west.inbox) == 1
        west.take()
        follow(west, east)
        assert (states(west), states(east)) == ([DELETING, INSTALLED], [REKEYED, INSTALLED])
    assert_one_tunnel(net)
    assert_never_down(net)
    assert rounds(net) == 2


@pytest.mark.parametrize("refused_first", [False, True])
@pytest.mark.parametrize("lowest", [NONCES[0], NONCES[2], NONCES[3]])
def test_collision_delayed_request_multi_ke(net: Network, lowest: str, refused_first: bool) -> None:
    """West's request arrives when east has gone on with IKE_FOLLOWUP_KE: east goes on, whatever the nonces."""
    west, east = net.sides
    draw(west, "west's request", lowest)
    west.rekey()
    draw(east, "east's request", lowest)
    east.rekey()
    draw(west, "west's answer", lowest)
    west.take()
    east.take(1)
    assert west.read().header.exchange is ExchangeType.IKE_FOLLOWUP_KE
    east.take()
    assert notifies(west, 1) == {NotifyType.TEMPORARY_FAILURE}
    if refused_first:
        west.take(1)
        assert states(west) == [INSTALLED]
    west.take()
    east.take()
    west.take(len(west.inbox) - 1)
    east.take()
    assert states(west) == ([REKEYED, INSTALLED] if refused_first else [REKEYING, INSTALLED])
    assert states(east) == [DELETING, INSTALLED]
    west.take(len(west.inbox) - 1)
    assert_one_tunnel(net)
    assert_never_down(net)
    assert rounds(net) == 2


def test_collision_delete_multi_ke(net: Network, roles: tuple[Side, Side]) -> None:
    """The peer deletes the SA while its additional key exchanges are under way: they come to nothing."""
    us, peer = roles
    us.rekey()
    peer.take()
    us.take()
    delete(peer, only_child(peer))
    us.take()
    assert us.children == []
    peer.take()
    us.take()
    peer.take()
    assert peer.children == []
    peer.take()
    assert notifies(us) == {NotifyType.TEMPORARY_FAILURE}
    assert_no_child(net)
