"""Child SAs that a data plane or the peer loses, uses up or refuses."""

from __future__ import annotations

import pytest

from ikeclone.backend import Expire, Lost
from ikeclone.ike.requests import Requests
from ikeclone.numbers import ExchangeType
from tests.pair.network import NAME, Network
from tests.pair.scenario import assert_one_tunnel, by_hand, delete, failure, only_child


def test_a_lost_fallback_is_made_anew() -> None:
    net = Network().established()
    net.west.packet(0)
    net.run(2)
    fallback = net.west.children[0]
    net.west.endpoint.lost(Lost((fallback.inbound_spi,), "a worker died"), net.now)
    net.settle(net.west)
    net.run(5)
    assert [c.cpu for c in net.west.children] == [None, 0]
    assert fallback not in net.west.children
    net.assert_consistent()


def test_all_sas_lost_at_once_are_made_anew() -> None:
    net = Network().established()
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(2)
    spis = tuple(child.inbound_spi for child in reversed(net.west.children))
    net.west.endpoint.lost(Lost(spis, "every worker died"), net.now)
    net.settle(net.west)
    net.run(5)
    assert [c.cpu for c in net.west.children] == [None]
    assert not set(spis) & set(net.west.backend.installed)
    net.assert_consistent()


def all_lost() -> Network:
    """West has lost its only Child SA, and asks for another."""
    net = Network().established()
    net.west.endpoint.lost(Lost((net.west.children[0].inbound_spi,), "somebody flushed the kernel"), net.now)
    net.settle(net.west)
    return net


def test_traffic_stays_routed_while_a_lost_fallback_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    net, unrouted = all_lost(), list[str]()

    async def unroute(connection: str) -> None:
        unrouted.append(connection)

    monkeypatch.setattr(net.west.backend, "unroute", unroute)
    net.run(5)
    assert len(net.west.children) == 1
    assert unrouted == []


def test_traffic_is_routed_no_more_when_the_lost_fallback_is_not_to_be_had() -> None:
    net = all_lost()
    net.west.endpoint.tunnels[NAME].down(net.now)
    net.settle(net.west)
    net.run(10)
    assert net.west.children == []
    assert net.west.backend.policies == {}


def test_a_lost_clone_is_deleted_and_opened_again_by_traffic() -> None:
    net = Network().established()
    net.west.packet(0)
    net.run(2)
    clone = net.west.children[1]
    net.west.endpoint.lost(Lost((clone.inbound_spi,), "a worker died"), net.now)
    net.settle(net.west)
    net.run(5)
    assert [c.cpu for c in net.west.children] == [None]
    net.west.packet(0)
    net.run(5)
    assert [c.cpu for c in net.west.children] == [None, 0]
    net.assert_consistent()


@pytest.mark.parametrize("hard", [False, True])
def test_an_sa_that_is_used_up_is_replaced(hard: bool) -> None:
    net = Network().established()
    (old,) = net.west.children
    net.west.endpoint.expire(Expire(old.inbound_spi, hard), net.now)
    net.settle(net.west)
    net.run(30)
    (new,) = net.west.children
    assert new is not old
    net.assert_consistent()


def test_a_clone_that_cannot_be_installed_is_deleted_and_the_fallback_goes_on() -> None:
    net = Network().established()
    net.west.packet(0)
    net.run(2)
    fallback, clone = net.west.children
    net.west.endpoint.install_failed(clone.inbound_spi, "no room", net.now)
    net.settle(net.west)
    net.run(2)
    assert net.west.children == [fallback]
    assert [c.cpu for c in net.east.children] == [None]
    net.assert_consistent()


def test_an_sa_that_is_lost_while_it_is_being_deleted_is_deleted_once() -> None:
    net = by_hand()
    child = only_child(net.west)
    delete(net.west, child)
    net.west.endpoint.lost(Lost((child.inbound_spi,), "a worker died"), net.now)
    net.settle(net.west)
    kinds = [net.east.read(index).header.exchange for index in range(len(net.east.inbox))]
    assert kinds == [ExchangeType.INFORMATIONAL, ExchangeType.CREATE_CHILD_SA]
    assert_one_tunnel(net)


def test_an_sa_that_cannot_be_installed_is_deleted_at_the_peer_too() -> None:
    net = Network().established()
    (child,) = net.west.children
    net.west.endpoint.install_failed(child.inbound_spi, "no room", net.now)
    net.settle(net.west)
    net.run(4)
    assert "cannot be installed: no room" in failure(net.west)
    assert [side.children for side in net.sides] == [[], []]
    net.assert_consistent()
    net.run(6)
    assert [len(side.children) for side in net.sides] == [1, 1]


def test_a_deleted_fallback_is_replaced_and_the_clones_stay() -> None:
    net = Network().established()
    net.west.packet(0)
    net.run(2)
    fallback, clone = net.east.children
    net.east.endpoint.tunnels[NAME].children.replace_lost(net.east.ike, fallback, net.now)  # type: ignore[arg-type]
    net.settle(net.east)
    net.run(10)
    assert clone in net.east.children
    assert [c.cpu for c in net.west.children] == [None, 0]
    net.assert_consistent()


def test_a_clone_that_the_peer_does_not_know_yet_is_kept_and_rekeyed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Requests, "creating_children", False)  # as a peer that answers CHILD_SA_NOT_FOUND at once
    net = Network().established().hold()
    net.east.packet(0)
    net.west.take()
    (clone,) = [child for child in net.west.children if child.cpu is not None]
    net.west.rekey()
    answer = net.east.inbox.popleft()
    while net.east.inbox:
        net.east.take()
    while net.west.inbox:
        net.west.take()
    assert clone in net.west.children
    net.receive(net.east, answer)
    net.release()
    net.run(30)
    assert clone not in net.west.children
    assert [child.cpu for child in net.west.children] == [None, clone.cpu]
    net.assert_consistent()


def test_a_clone_that_the_peer_has_lost_is_dropped_and_opened_again_by_traffic() -> None:
    net = Network().established()
    net.west.packet(0)
    net.run(2)
    clone, theirs = net.west.children[1], net.east.children[1]
    assert net.east.ike is not None
    theirs.tunnel.children.remove(net.east.ike, theirs, net.now)
    net.settle(net.east)
    net.west.rekey()
    net.run(2)
    assert clone not in net.west.children
    assert [c.cpu for c in net.west.children] == [None]
    net.west.packet(0)
    net.run(2)
    assert [c.cpu for c in net.west.children] == [None, 0]
    net.assert_consistent()
