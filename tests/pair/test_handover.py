"""An IKE SA that goes leaves its traffic to another one first: at every moment there is an SA that the peer accepts."""

from __future__ import annotations

import pytest

from tests.pair.network import NAME, Side
from tests.pair.scenario import assert_one_tunnel, by_hand, watched


def authenticate(us: Side, peer: Side) -> None:
    """We ask for another IKE SA, a moment later; the response to our IKE_AUTH is the last that waits for us."""
    us.network.run(0.1)
    us.rekey(reauth=True)
    peer.take(len(peer.inbox) - 1)
    us.take(len(us.inbox) - 1)
    peer.take(len(peer.inbox) - 1)


def sending(side: Side) -> int:
    return side.backend.outbound[NAME, None]


def test_the_first_request_on_a_new_ike_sa_proves_that_its_child_sa_is_there() -> None:
    """However many requests the peer may send at a time: it sends none before it has our answer to IKE_AUTH."""
    net = watched(by_hand())
    west, east = net.sides
    authenticate(west, east)
    former = sending(east)
    west.take()
    assert sending(east) == former
    east.take()
    assert sending(east) != former
    assert_one_tunnel(net)


@pytest.mark.parametrize("seed", range(1, 9))
def test_an_answer_that_comes_when_the_peer_has_authenticated_anew(seed: int) -> None:
    """East's new IKE SA is redundant or in use, as the SPIs are: west replaces it at once, or when east knows of it."""
    net = watched(by_hand(None, None, seed))
    west, east = net.sides
    authenticate(east, west)
    late = east.inbox.pop()
    net.run(0.1)
    west.rekey(reauth=True)
    for side in (east, west, east, west):
        if side.inbox:
            side.take(len(side.inbox) - 1)
    east.inbox.append(late)
    east.take(len(east.inbox) - 1)
    assert_one_tunnel(net)


def test_an_ike_sa_that_is_rekeyed_while_it_is_authenticated_anew() -> None:
    """Both rekey it, and only east's exchange succeeds: where east has the Child SAs then, west has them too."""
    net = watched(by_hand())
    west, east = net.sides
    west.rekey(ike=True)
    east.rekey(ike=True)
    west.take()
    authenticate(west, east)
    for side in (east, east, west, west, west):
        side.take()
    assert_one_tunnel(net)
