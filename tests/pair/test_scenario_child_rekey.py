"""Rekeying a Child SA, message by message: by one side, by both at once, and across deletes and IKE rekeys."""

from __future__ import annotations

import pytest

from ikeclone.backend import Expire
from ikeclone.connection import Timing
from ikeclone.crypto.registry import parse_esp
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import ChildState
from ikeclone.numbers import ExchangeType, NotifyType
from tests.pair.network import NAME, Network, Side
from tests.pair.scenario import (
    NONCES,
    OF_WEST,
    assert_never_down,
    assert_no_child,
    assert_nothing,
    assert_one_tunnel,
    by_hand,
    cross,
    delete,
    delete_ike,
    deleted,
    draw,
    ike_sa,
    notifies,
    only_child,
    states,
)

INSTALLED, REKEYING, REKEYED, DELETING = (
    ChildState.INSTALLED,
    ChildState.REKEYING,
    ChildState.REKEYED,
    ChildState.DELETING,
)
KES = {"west": {"esp": parse_esp("aes_gcm256;dh31+dh19")}, "east": {"esp": parse_esp("aes_gcm256;dh19+dh31")}}


@pytest.fixture
def net() -> Network:
    return by_hand()


def hear(side: Side, child_spi: int, *, hard: bool) -> None:
    """The data plane says that an SA is used up."""
    side.endpoint.expire(Expire(child_spi, hard), side.network.now)
    side.network.settle(side)


def test_regular(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    us.rekey()
    assert states(us) == [REKEYING]
    assert notifies(peer) == {NotifyType.REKEY_SA}
    peer.take()
    old, new = peer.children
    assert (old.state, old.active, new.state, new.active) == (REKEYED, True, INSTALLED, False)
    us.take()
    old, new = us.children
    assert (old.state, old.active, new.state, new.active) == (DELETING, False, INSTALLED, True)
    peer.take()
    assert only_child(peer).active
    us.take()
    assert_one_tunnel(net)
    assert_never_down(net)
    assert [len(side.kinds(Kind.CHILD_REKEYED)) for side in net.sides] == [1, 1]


@pytest.mark.parametrize("name", ["west", "east"])
def test_regular_ke_invalid(name: str) -> None:
    net = Network(west={"clones": 0, **KES["west"]}, east={"clones": 0, **KES["east"]}).established().hold()
    us, peer = (net.west, net.east) if name == "west" else (net.east, net.west)
    us.rekey()
    peer.take()
    assert notifies(us) == {NotifyType.INVALID_KE_PAYLOAD}
    us.take()
    assert states(us) == [REKEYING]
    assert states(peer) == [INSTALLED]
    peer.take()
    us.take()
    assert states(us) == [DELETING, INSTALLED]
    assert_one_tunnel(net)


def test_regular_responder_ignore_soft_expire(net: Network) -> None:
    west, east = net.sides
    west.rekey()
    east.take()
    old, _ = east.children
    hear(east, old.inbound_spi, hard=False)
    net.run(0.4)
    assert len(west.inbox) == 1
    assert states(east) == [REKEYED, INSTALLED]
    assert_one_tunnel(net)
    assert_never_down(net)


def test_regular_responder_handle_hard_expire(net: Network) -> None:
    west, east = net.sides
    west.rekey()
    east.take()
    old, _ = east.children
    hear(east, old.inbound_spi, hard=True)
    assert states(east) == [DELETING, INSTALLED]
    assert deleted(west, 1) == [old.inbound_spi]
    west.take()
    west.take()
    east.take()
    assert_one_tunnel(net)
    assert_never_down(net)


def test_regular_responder_delete(net: Network) -> None:
    """The responder deletes the new SA before the initiator's delete of the old one is there."""
    west, east = net.sides
    west.rekey()
    east.take()
    west.take()
    _, new = east.children
    delete(east, new)
    assert states(east) == [REKEYED, DELETING]
    west.take()
    east.take()
    assert_no_child(net)


def test_regular_responder_lost_sa(net: Network) -> None:
    """The responder does not have the SA any more: the initiator opens another one."""
    west, east = net.sides
    east.endpoint.tunnels[NAME].children.remove(ike_sa(east), only_child(east), net.now)
    net.settle(east)
    west.rekey()
    east.take()
    message = west.read()
    assert [(n.type, n.spi) for n in message.payloads] == [  # type: ignore[union-attr]
        (NotifyType.CHILD_SA_NOT_FOUND, only_child(west).inbound_spi.to_bytes(4, "big"))
    ]
    west.take()
    assert west.children == []
    assert_one_tunnel(net)


def test_regular_responder_incorrect_delete(net: Network) -> None:
    """The responder deletes the old SA, which is not its to delete, and that arrives before its answer."""
    west, east = net.sides
    west.rekey()
    east.take()
    old, _ = east.children
    delete(east, old)
    west.take(1)
    assert west.children == []
    west.take()
    assert states(west) == [INSTALLED]
    assert_one_tunnel(net)


def test_regular_delete_timeout() -> None:
    """The old SA of the responder ends at its own lifetime when the initiator never deletes it."""
    lifetime = Timing(child_lifetime=300, margin=20, dpd_delay=0)
    net = by_hand(timing=lifetime, rekey=False)
    west, east = net.sides
    west.rekey()
    east.take()
    net.link.drop = lambda data: True
    west.take()
    old, new = west.children
    assert states(west) == [DELETING, INSTALLED]
    net.run(64)
    assert west.children == []
    assert [child.state for child in east.children] == [REKEYED, INSTALLED]
    assert [report.child for report in west.kinds(Kind.CHILD_DOWN)] == [new.inbound_spi]
    assert old.state is ChildState.REMOVED


def test_collision(net: Network, lowest: str) -> None:
    cross(net, lowest)
    west, east = net.sides
    assert states(west) == states(east) == [REKEYING, INSTALLED]
    west.take()
    east.take()
    loser, winner = (west, east) if lowest in OF_WEST else (east, west)
    # The loser deletes its own new SA, the winner the old one.
    assert states(loser) == [REKEYED, INSTALLED, DELETING]
    assert states(winner) == [DELETING, REKEYED, INSTALLED]
    assert deleted(winner) == [loser.children[2].inbound_spi]
    assert deleted(loser) == [winner.children[0].inbound_spi]
    for side in net.sides:
        side.take()
    assert_one_tunnel(net)
    assert_never_down(net)


def test_collision_delayed_response(net: Network, lowest: str) -> None:
    """East has finished and deleted an SA before its answer to the west is there."""
    cross(net, lowest)
    west, east = net.sides
    east.take()
    assert [m.header.exchange for m in (west.read(0), west.read(1))] == [
        ExchangeType.CREATE_CHILD_SA,
        ExchangeType.INFORMATIONAL,
    ]
    west.take(1)
    # East deleted the old SA when its own is the one that stays, else that one.
    assert states(west) == ([INSTALLED] if lowest in OF_WEST else [REKEYING])
    east.take()
    west.take()
    assert_one_tunnel(net)
    assert_never_down(net)


def test_collision_delayed_response_delete(net: Network, lowest: str) -> None:
    """As before, and east deletes the SA that stays too before its answer is there."""
    cross(net, lowest)
    west, east = net.sides
    east.take()
    west.take(1)
    east.take()
    staying = next(child for child in east.children if child.state is INSTALLED)
    delete(east, staying)
    west.take(1)
    east.take()
    west.take()
    assert_no_child(net)


@pytest.mark.parametrize("deleted_first", [False, True])
@pytest.mark.parametrize("lowest", [NONCES[0], NONCES[2], NONCES[3]])
def test_collision_delayed_request(net: Network, lowest: str, deleted_first: bool) -> None:
    """West's request arrives when east has finished its own rekey and is deleting the old SA."""
    west, east = net.sides
    draw(west, "west's request", lowest)
    west.rekey()
    draw(east, "east's request", lowest)
    east.rekey()
    draw(west, "west's answer", lowest)
    west.take()
    east.take(1)
    assert states(east) == [DELETING, INSTALLED]
    east.take()
    assert notifies(west, 1) == {NotifyType.TEMPORARY_FAILURE}
    for index in (0, 0) if deleted_first else (1, 0):
        west.take(index)
    assert states(west) == [INSTALLED]
    east.take()
    assert_one_tunnel(net)
    assert_never_down(net)


@pytest.mark.parametrize("lowest", [NONCES[0], NONCES[2], NONCES[3]])
@pytest.mark.parametrize("new_deleted_too", [False, True])
def test_collision_delayed_request_more(net: Network, lowest: str, new_deleted_too: bool) -> None:
    """West's request arrives when east has deleted the old SA, and maybe the new one."""
    west, east = net.sides
    draw(west, "west's request", lowest)
    west.rekey()
    draw(east, "east's request", lowest)
    east.rekey()
    draw(west, "west's answer", lowest)
    west.take()
    east.take(1)
    west.take()
    east.take(1)
    assert states(east) == [INSTALLED]
    if new_deleted_too:
        delete(east, only_child(east))
        west.take()
        east.take(1)
    east.take()
    assert notifies(west) == {NotifyType.CHILD_SA_NOT_FOUND}
    west.take()
    if new_deleted_too:
        assert_no_child(net)
    else:
        assert_one_tunnel(net)
        assert_never_down(net)


def cross_with_other_methods(lowest: str) -> Network:
    """Both sides ask for a rekey with a method that the other does not want, and both are told so."""
    net = Network(west={"clones": 0, **KES["west"]}, east={"clones": 0, **KES["east"]}).established().hold()
    west, east = net.sides
    west.rekey()
    east.rekey()
    east.take()
    west.take()
    assert notifies(west) == notifies(east) == {NotifyType.INVALID_KE_PAYLOAD}
    for side in net.sides:
        draw(side, f"{'west' if side is west else 'east'}'s request", lowest)
        side.take()
    return net


def test_collision_ke_invalid(lowest: str) -> None:
    net = cross_with_other_methods(lowest)
    west, east = net.sides
    draw(east, "east's answer", lowest)
    east.take()
    draw(west, "west's answer", lowest)
    west.take()
    west.take()
    east.take()
    loser, winner = (west, east) if lowest in OF_WEST else (east, west)
    assert states(loser) == [REKEYED, INSTALLED, DELETING]
    assert states(winner) == [DELETING, REKEYED, INSTALLED]
    assert_one_tunnel(net)


@pytest.mark.parametrize("lowest", [NONCES[0], NONCES[2], NONCES[3]])
def test_collision_ke_invalid_delayed_retry(lowest: str) -> None:
    """West's second request is late: east sees no collision."""
    net = cross_with_other_methods(lowest)
    west, east = net.sides
    draw(west, "west's answer", lowest)
    west.take()
    east.take(1)
    assert states(east) == [DELETING, INSTALLED]
    east.take()
    assert notifies(west, 1) == {NotifyType.TEMPORARY_FAILURE}
    assert_one_tunnel(net)


def test_collision_responder_incorrect_delete(net: Network) -> None:
    """The loser of a collision deletes the old SA as well, which is the winner's to delete."""
    cross(net, NONCES[0])
    west = net.west
    west.take()
    assert states(west) == [REKEYED, INSTALLED, DELETING]
    delete(west, west.children[0])
    assert_one_tunnel(net)


def test_collision_delete(net: Network, roles: tuple[Side, Side]) -> None:
    """One side rekeys what the other deletes; both are under way."""
    us, peer = roles
    us.rekey()
    delete(peer, only_child(peer))
    peer.take()
    assert notifies(us, 1) == {NotifyType.TEMPORARY_FAILURE}
    us.take()
    assert us.children == []
    us.take()
    assert_no_child(net)


def test_collision_delete_drop_delete(net: Network, roles: tuple[Side, Side]) -> None:
    """The delete is late: the rekey is put off, then finds nothing to do."""
    us, peer = roles
    us.rekey()
    delete(peer, only_child(peer))
    peer.take()
    us.take(1)
    assert states(us) == [INSTALLED]
    assert us.endpoint.host.timers.when(only_child(us), "rekey") is not None
    us.take()
    assert_no_child(net)


def test_collision_delete_drop_rekey(net: Network, roles: tuple[Side, Side]) -> None:
    """The rekey is late: the SA is not there any more."""
    us, peer = roles
    us.rekey()
    delete(peer, only_child(peer))
    us.take()
    peer.take(1)
    assert peer.children == []
    peer.take()
    assert notifies(us) == {NotifyType.CHILD_SA_NOT_FOUND}
    us.take()
    assert_no_child(net)


def test_collision_delete_delayed_response(net: Network, roles: tuple[Side, Side]) -> None:
    """The peer deletes the new SA, and that arrives before its answer which made it."""
    us, peer = roles
    us.rekey()
    peer.take()
    delete(peer, peer.children[1])
    us.take(1)
    peer.take()
    us.take()
    assert_no_child(net)


def test_collision_ike_rekey(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    us.rekey()
    peer.rekey(ike=True)
    us.take()
    peer.take()
    assert notifies(us) == notifies(peer) == {NotifyType.TEMPORARY_FAILURE}
    before = only_child(us), ike_sa(us)
    assert_one_tunnel(net)
    assert before[0] is not only_child(us)
    assert before[1] is not ike_sa(us)
    assert_never_down(net)


def test_collision_ike_delete(net: Network, roles: tuple[Side, Side]) -> None:
    us, peer = roles
    us.rekey()
    delete_ike(peer)
    peer.take()
    assert notifies(us, 1) == {NotifyType.TEMPORARY_FAILURE}
    us.take()
    assert us.children == []
    assert_nothing(net)


def test_rekey_of_an_sa_whose_response_is_late(net: Network) -> None:
    """East rekeys the new SA before west knows it: to be tried again, not gone."""
    west, east = net.sides
    west.rekey()
    east.take()
    east.rekey()
    west.take(1)
    assert notifies(east) == {NotifyType.TEMPORARY_FAILURE}
    assert_one_tunnel(net)
    assert_never_down(net)


def test_an_sa_that_is_rekeyed_again_at_once(net: Network) -> None:
    """The responder sends on what the initiator has: naming the first new SA proves it, not yet the second."""
    west, east = net.sides
    west.rekey()
    east.take()
    west.take()
    delete_of_old = east.inbox.popleft()
    west.rekey()
    east.take()
    assert [child.active for child in east.children] == [False, True, False]
    east.inbox.append(delete_of_old)
    east.take()
    assert [child.active for child in east.children] == [True, False]
    assert_one_tunnel(net)
    assert_never_down(net)


def test_collision_whose_winner_is_rekeyed_again_at_once(net: Network) -> None:
    """East rekeys its new SA while west still awaits its answer: west sends on what east has."""
    west, east = net.sides
    west.rekey()
    east.rekey()
    west.take()
    east.take(1)
    delete_of_old = west.inbox.popleft()
    east.rekey()
    west.take()
    assert [child.active for child in west.children] == [False, True, False]
    west.inbox.append(delete_of_old)
    west.take()
    assert [child.active for child in west.children] == [True, False]
    assert_one_tunnel(net)
    assert_never_down(net)
