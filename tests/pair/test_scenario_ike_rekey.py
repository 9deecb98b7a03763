"""Rekeying the IKE SA, message by message: by one side, by both at once, and across its delete."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.crypto.registry import parse_ike
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import ChildState
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import NotifyType, ProtocolId
from ikeclone.wire.payloads import Delete
from tests.pair.network import NAME, Network, Side
from tests.pair.scenario import (
    NONCES,
    OF_WEST,
    assert_never_down,
    assert_nothing,
    assert_one_tunnel,
    by_hand,
    cross,
    delete_ike,
    draw,
    ike_sa,
    notifies,
    only_child,
)

ESTABLISHED, REKEYED, DELETING = State.ESTABLISHED, State.REKEYED, State.DELETING


@pytest.fixture
def net() -> Network:
    return by_hand()


def sas(side: Side) -> list[IkeSa]:
    """A side's IKE SAs that live, the oldest first."""
    return sorted((sa for sa in side.endpoint.ike_sas() if sa.state is not State.DEAD), key=lambda sa: sa.serial)


def states(side: Side) -> list[State]:
    return [sa.state for sa in sas(side)]


def has_delete(side: Side, index: int = 0) -> bool:
    """Whether a datagram that waits for a side deletes its IKE SA."""
    return Delete(ProtocolId.IKE, ()) in side.read(index).payloads


def assert_rekeyed(net: Network, old: IkeSa) -> None:
    """The tunnel was up all the time, with the same Child SA, and has a new IKE SA on both sides."""
    spis = {side: only_child(side).inbound_spi for side in net.sides}
    assert_one_tunnel(net)
    assert_never_down(net)
    assert {side: only_child(side).inbound_spi for side in net.sides} == spis
    assert ike_sa(net.west).spi_i == ike_sa(net.east).spi_i != old.spi_i


def test_regular(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    old = ike_sa(us)
    us.rekey(ike=True)
    assert states(us) == [ESTABLISHED]
    peer.take()
    assert states(peer) == [REKEYED, ESTABLISHED]
    us.take()
    assert states(us) == [DELETING, ESTABLISHED]
    assert has_delete(peer)
    peer.take()
    us.take()
    assert states(us) == states(peer) == [ESTABLISHED]
    assert [sa.initiator for sa in (*sas(us), *sas(peer))] == [True, False]
    assert_rekeyed(net, old)
    assert [len(side.kinds(Kind.IKE_REKEYED)) for side in net.sides] == [1, 1]


def prefer(side: Side, methods: str) -> None:
    """From now on this side wants the first of these methods for an IKE SA, whatever is in use."""
    tunnel = side.endpoint.tunnels[NAME]
    tunnel.connection = replace(tunnel.connection, ike=parse_ike(f"aes_gcm256-sha2_256-{methods}"))


def prefer_others(net: Network) -> None:
    """Each side has a favourite, and neither is the method in use."""
    prefer(net.west, "dh19+dh20+dh31")
    prefer(net.east, "dh20+dh19+dh31")


def test_regular_ke_invalid(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    old = ike_sa(us)
    prefer_others(net)
    us.rekey(ike=True)
    peer.take()
    assert notifies(us) == {NotifyType.INVALID_KE_PAYLOAD}
    assert states(peer) == [ESTABLISHED]
    us.take()
    peer.take()
    us.take()
    assert states(us) == [DELETING, ESTABLISHED]
    assert ike_sa(us).suite.ke is peer.endpoint.tunnels[NAME].connection.ike[0].transforms[2].id
    assert_rekeyed(net, old)


def test_collision(net: Network, lowest: str) -> None:
    old = ike_sa(net.west)
    cross(net, lowest, ike=True)
    west, east = net.sides
    assert states(west) == states(east) == [ESTABLISHED, ESTABLISHED]
    west.take()
    east.take()
    loser, winner = (west, east) if lowest in OF_WEST else (east, west)
    # The loser deletes its own new IKE SA, the winner the old one; the Child SA has moved already.
    assert states(loser) == [REKEYED, ESTABLISHED, DELETING]
    assert states(winner) == [DELETING, REKEYED, ESTABLISHED]
    assert ike_sa(loser).children.keys() == {only_child(loser).inbound_spi}
    for side in (*net.sides, *net.sides):
        side.take()
    assert states(west) == states(east) == [ESTABLISHED]
    assert_rekeyed(net, old)


def test_collision_ke_invalid(net: Network, lowest: str) -> None:
    old = ike_sa(net.west)
    prefer_others(net)
    cross(net, "none", ike=True)
    assert notifies(net.west) == notifies(net.east) == {NotifyType.INVALID_KE_PAYLOAD}
    draw(net.west, "west's request", lowest)
    net.west.take()
    draw(net.east, "east's request", lowest)
    net.east.take()
    draw(net.east, "east's answer", lowest)
    net.east.take()
    draw(net.west, "west's answer", lowest)
    for side in (net.west, net.west, net.east):
        side.take()
    loser, winner = (net.west, net.east) if lowest in OF_WEST else (net.east, net.west)
    assert states(loser) == [REKEYED, ESTABLISHED, DELETING]
    assert states(winner) == [DELETING, REKEYED, ESTABLISHED]
    assert_rekeyed(net, old)


@pytest.mark.parametrize("lowest", [NONCES[0], NONCES[2], NONCES[3]])
def test_collision_ke_invalid_delayed_retry(net: Network, lowest: str) -> None:
    """West's second request is late: east sees no collision."""
    old = ike_sa(net.west)
    prefer_others(net)
    west, east = net.sides
    cross(net, "none", ike=True)
    draw(west, "west's request", lowest)
    west.take()
    draw(east, "east's request", lowest)
    east.take()
    draw(west, "west's answer", lowest)
    west.take()
    east.take(1)
    assert states(east) == [DELETING, ESTABLISHED]
    east.take()
    assert notifies(west, 1) == {NotifyType.TEMPORARY_FAILURE}
    west.take(1)
    assert states(west) == [REKEYED, ESTABLISHED]
    assert_rekeyed(net, old)


def test_collision_delayed_response(net: Network, lowest: str) -> None:
    """East has its answer and deletes an IKE SA before its own answer reaches the west.

    When that is the old one, the answer comes too late for it: east's copy of the redundant SA ends by itself.
    """
    old = ike_sa(net.west)
    cross(net, lowest, ike=True)
    west, east = net.sides
    east.take()
    assert has_delete(west, 1)
    west.take(1)
    east.take()
    assert states(west) == [ESTABLISHED]
    assert states(east) == [REKEYED, ESTABLISHED]
    assert west.children
    west.take()
    assert_rekeyed(net, old)


@pytest.mark.parametrize("lowest", [NONCES[0], NONCES[2], NONCES[3]])
def test_collision_dropped_request(net: Network, lowest: str) -> None:
    """East never sees west's request, so it does not know of a collision."""
    old = ike_sa(net.west)
    west, east = net.sides
    draw(west, "west's request", lowest)
    west.rekey(ike=True)
    east.inbox.clear()
    draw(east, "east's request", lowest)
    east.rekey(ike=True)
    draw(west, "west's answer", lowest)
    west.take()
    east.take()
    assert states(east) == [DELETING, ESTABLISHED]
    west.take()
    assert states(west) == [ESTABLISHED]
    assert_rekeyed(net, old)


@pytest.mark.parametrize("deleted_first", [False, True])
@pytest.mark.parametrize("lowest", [NONCES[0], NONCES[2], NONCES[3]])
def test_collision_delayed_request(net: Network, lowest: str, deleted_first: bool) -> None:
    """West's request arrives when east is deleting the old IKE SA."""
    old = ike_sa(net.west)
    west, east = net.sides
    draw(west, "west's request", lowest)
    west.rekey(ike=True)
    draw(east, "east's request", lowest)
    east.rekey(ike=True)
    draw(west, "west's answer", lowest)
    west.take()
    east.take(1)
    east.take()
    assert notifies(west, 1) == {NotifyType.TEMPORARY_FAILURE}
    for index in (0, 0) if deleted_first else (1, 0):
        west.take(index)
    assert states(west) == [ESTABLISHED]
    assert_rekeyed(net, old)


@pytest.mark.parametrize("lowest", [NONCES[0], NONCES[2], NONCES[3]])
def test_collision_delayed_request_and_delete(net: Network, lowest: str) -> None:
    """West's request arrives when the old IKE SA is gone."""
    old = ike_sa(net.west)
    west, east = net.sides
    draw(west, "west's request", lowest)
    west.rekey(ike=True)
    draw(east, "east's request", lowest)
    east.rekey(ike=True)
    draw(west, "west's answer", lowest)
    west.take()
    east.take(1)
    west.take()
    east.take(1)
    assert states(west) == states(east) == [ESTABLISHED]
    east.take()
    assert not west.inbox
    assert_rekeyed(net, old)


def test_collision_delete(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    us.rekey(ike=True)
    delete_ike(peer)
    peer.take()
    assert notifies(us, 1) == {NotifyType.TEMPORARY_FAILURE}
    us.take()
    assert_nothing(net)


def test_collision_delete_drop_delete(net: Network, roles: tuple[Side, Side]) -> None:
    """The delete is late: the rekey is put off, and has nothing to do in the end."""
    us, peer = roles
    us.rekey(ike=True)
    delete_ike(peer)
    peer.take()
    us.take(1)
    assert states(us) == [ESTABLISHED]
    assert us.endpoint.host.timers.when(ike_sa(us), "rekey") is not None
    us.take()
    peer.take()
    assert_nothing(net)


def test_peer_that_uses_its_new_sa_has_replaced_the_old_one(net: Network) -> None:
    """East has asked too, which west does not know: what west does on its new IKE SA is for the moved Child SAs."""
    west, east = net.sides
    east.rekey(ike=True)
    west.rekey(ike=True)
    east.take()
    west.take(1)
    old, request = west.inbox.popleft(), east.inbox.popleft()
    assert states(west) == [DELETING, ESTABLISHED]
    child = only_child(west)
    west.rekey()
    east.take()
    assert only_child(west) is child
    assert [c.state for c in east.children] == [ChildState.REKEYED, ChildState.INSTALLED]
    assert states(east) == [REKEYED, ESTABLISHED]
    east.inbox.append(request)
    west.inbox.append(old)
    assert_one_tunnel(net)
    assert_never_down(net)


def test_peer_that_uses_its_new_sa_before_its_answer_arrives(net: Network) -> None:
    """East has won and goes on with its own; west, which learns that late, deletes what it has made."""
    west, east = net.sides
    old = ike_sa(west)
    cross(net, OF_WEST[0], ike=True)
    east.take()
    child = only_child(east)
    east.rekey()
    west.take(2)
    assert states(west) == [REKEYED, ESTABLISHED]
    west.take()
    assert states(west) == [REKEYED, ESTABLISHED, DELETING]
    assert has_delete(east, 1)
    assert_one_tunnel(net)
    assert_never_down(net)
    assert only_child(east) is not child
    assert ike_sa(west).spi_i == ike_sa(east).spi_i != old.spi_i


def test_peer_that_rekeys_its_new_sa_again(net: Network) -> None:
    """As before, and west rekeys its new IKE SA at once: the Child SAs go where that leads, whatever comes late."""
    west, east = net.sides
    old = ike_sa(west)
    east.rekey(ike=True)
    west.rekey(ike=True)
    west.rekey(ike=True)
    east.take()
    west.take(1)
    delete_of_old = east.inbox.popleft()
    east.take()
    east.inbox.append(delete_of_old)
    east.take()
    assert_rekeyed(net, old)


def test_down_while_a_rekey_is_under_way(net: Network, roles: tuple[Side, Side]) -> None:
    """The new IKE SA is deleted at once, and so is the old one."""
    us, peer = roles
    us.rekey(ike=True)
    us.down()
    peer.take()
    us.take()
    assert states(us) == [DELETING, DELETING]
    for _ in range(2):
        assert has_delete(peer)
        peer.take()
        us.take()
    assert_nothing(net)


def test_lost_answer_is_repeated_until_the_peer_would_give_up(net: Network) -> None:
    """The responder keeps the old IKE SA as long as the initiator may ask for the answer again."""
    west, east = net.sides
    old = ike_sa(west)
    west.rekey(ike=True)
    east.take()
    west.inbox.clear()
    net.run(32)
    assert len(east.inbox) == 6
    east.take(5)
    west.take()
    east.inbox.clear()
    assert states(west) == [DELETING, ESTABLISHED]
    assert_rekeyed(net, old)
