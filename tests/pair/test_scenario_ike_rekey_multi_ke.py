"""Rekeying the IKE SA with additional key exchanges, message by message: alone, by both at once, across its delete.

Of two such exchanges the one with the lowest nonce stops before its IKE_FOLLOWUP_KE (RFC 9370 section 2.2.4).
"""

from __future__ import annotations

import pytest

from ikeclone.ike.actions import Kind
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from tests.pair.network import Network, Side
from tests.pair.scenario import (
    MIXED,
    MULTI_KE,
    NONCES,
    OF_WEST,
    assert_nothing,
    by_hand,
    cross,
    delete_ike,
    draw,
    follow,
    ike_sa,
    notifies,
    rounds,
)
from tests.pair.test_scenario_ike_rekey import assert_rekeyed, has_delete, prefer, states

ESTABLISHED, REKEYED, DELETING = State.ESTABLISHED, State.REKEYED, State.DELETING


@pytest.fixture
def net() -> Network:
    return by_hand(**MULTI_KE)


def test_regular_multi_ke(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    old = ike_sa(us)
    us.rekey(ike=True)
    peer.take()
    us.take()
    assert states(us) == states(peer) == [ESTABLISHED]
    follow(us, peer)
    assert (states(us), states(peer)) == ([DELETING, ESTABLISHED], [REKEYED, ESTABLISHED])
    assert ike_sa(us).keys == ike_sa(peer).keys
    assert_rekeyed(net, old)
    assert [len(side.kinds(Kind.IKE_REKEYED)) for side in net.sides] == [1, 1]
    assert rounds(net) == 2


def test_regular_ke_invalid_multi_ke(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    old = ike_sa(us)
    prefer(us, "dh19+dh20+dh31-ke1_ecp256-ke2_x448")
    prefer(peer, "dh20+dh19+dh31-ke1_ecp256-ke2_x448")
    us.rekey(ike=True)
    peer.take()
    assert notifies(us) == {NotifyType.INVALID_KE_PAYLOAD}
    us.take()
    peer.take()
    us.take()
    assert states(us) == states(peer) == [ESTABLISHED]
    follow(us, peer)
    assert (states(us), states(peer)) == ([DELETING, ESTABLISHED], [REKEYED, ESTABLISHED])
    assert_rekeyed(net, old)


def test_collision_multi_ke(net: Network, lowest: str) -> None:
    old = ike_sa(net.west)
    cross(net, lowest, ike=True)
    west, east = net.sides
    west.take()
    east.take()
    loser, winner = (west, east) if lowest in OF_WEST else (east, west)
    assert not winner.inbox
    assert states(west) == states(east) == [ESTABLISHED]
    follow(winner, loser)
    assert (states(loser), states(winner)) == ([REKEYED, ESTABLISHED], [DELETING, ESTABLISHED])
    assert has_delete(loser)
    assert_rekeyed(net, old)
    assert rounds(net) == 2


def test_collision_mixed(lowest: str) -> None:
    """Only west's exchange has additional key exchanges. East's makes its SA at once, and deletes it if it loses."""
    net = by_hand(MIXED["west"], MIXED["east"])
    old = ike_sa(net.west)
    cross(net, lowest, ike=True)
    west, east = net.sides
    assert (states(west), states(east)) == ([ESTABLISHED, ESTABLISHED], [ESTABLISHED])
    west.take()
    east.take()
    if lowest in OF_WEST:
        assert (states(west), states(east)) == ([REKEYED, ESTABLISHED], [DELETING, ESTABLISHED])
    else:
        assert (states(west), states(east)) == ([ESTABLISHED, ESTABLISHED], [ESTABLISHED, DELETING])
        east.take()
        west.take()
        east.take()
        west.take()
        assert (states(west), states(east)) == ([ESTABLISHED], [ESTABLISHED])
    assert_rekeyed(net, old)
    assert rounds(net) == (0 if lowest in OF_WEST else 2)


def test_collision_delayed_response_multi_ke(net: Network, lowest: str) -> None:
    """East's answer reaches the west after all that east did because of west's answer, its delete included."""
    old = ike_sa(net.west)
    cross(net, lowest, ike=True)
    west, east = net.sides
    east.take()
    if lowest in OF_WEST:
        for _ in range(2):
            west.take(1)
            east.take()
        assert (states(west), states(east)) == ([ESTABLISHED, ESTABLISHED], [DELETING, ESTABLISHED])
        west.take(1)
        east.take()
        west.take()
        assert states(west) == states(east) == [ESTABLISHED]
        assert not east.inbox
    else:
        assert len(west.inbox) == 1
        west.take()
        follow(west, east)
        assert (states(west), states(east)) == ([DELETING, ESTABLISHED], [REKEYED, ESTABLISHED])
    assert_rekeyed(net, old)
    assert rounds(net) == 2


@pytest.mark.parametrize("refused_first", [False, True])
@pytest.mark.parametrize("lowest", [NONCES[0], NONCES[2], NONCES[3]])
def test_collision_delayed_request_multi_ke(net: Network, lowest: str, refused_first: bool) -> None:
    """West's request arrives when east has gone on with IKE_FOLLOWUP_KE: east goes on, whatever the nonces."""
    old = ike_sa(net.west)
    west, east = net.sides
    draw(west, "west's request", lowest)
    west.rekey(ike=True)
    draw(east, "east's request", lowest)
    east.rekey(ike=True)
    draw(west, "west's answer", lowest)
    west.take()
    east.take(1)
    assert west.read().header.exchange is ExchangeType.IKE_FOLLOWUP_KE
    east.take()
    assert notifies(west, 1) == {NotifyType.TEMPORARY_FAILURE}
    if refused_first:
        west.take(1)
    west.take()
    east.take()
    west.take(len(west.inbox) - 1)
    east.take()
    assert states(west) == ([REKEYED, ESTABLISHED] if refused_first else [ESTABLISHED, ESTABLISHED])
    assert states(east) == [DELETING, ESTABLISHED]
    west.take(len(west.inbox) - 1)
    assert states(west) == [ESTABLISHED]
    assert_rekeyed(net, old)
    assert rounds(net) == 2


def test_collision_delete_multi_ke(net: Network, roles: tuple[Side, Side]) -> None:
    """The peer deletes the IKE SA while the additional key exchanges are under way: they come to nothing."""
    us, peer = roles
    us.rekey(ike=True)
    peer.take()
    us.take()
    delete_ike(peer)
    peer.take()
    assert notifies(us, 1) == {NotifyType.TEMPORARY_FAILURE}
    us.take()
    assert states(us) == []
    assert_nothing(net)
