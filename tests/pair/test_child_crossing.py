"""Both sides open the same Child SA at once, on an IKE SA that is there: one stays, and no packet is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.connection import Childless
from ikeclone.crypto.registry import parse_esp
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import ChildState
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import parse_message
from tests.pair.network import ESP, NAME, Network, Side
from tests.pair.scenario import notifies
from tests.pair.test_reauth import ike_sas
from tests.pair.test_sharing import OTHER, act, agree, counts, moved, net_of_two, tunnel


def shared(seed: int = 1, **changes: object) -> Network:
    """The first connection is up; the second one shares its IKE SA when it comes."""
    net = net_of_two(seed, **changes)
    act(net.west, "up", NAME)
    return net


def ask(net: Network, lowest: str) -> None:
    """Both bring the second connection up at the same moment; `lowest` is whose request has the lower nonce."""
    for name, side in (("west", net.west), ("east", net.east)):
        bring_up(side, 0x00 if name == lowest else 0xFF)


def bring_up(side: Side, first_octet: int) -> None:
    """Bring the second connection up with a request whose nonce begins so."""
    side.first_octet = first_octet
    tunnel(side, OTHER).wanted = True
    tunnel(side, OTHER).up(side.network.now)
    side.network.settle(side)
    side.first_octet = None


def requests(net: Network) -> int:
    """How many requests for Child SAs there were, each counted once."""
    headers = {(h := parse_message(datagram.data).header, h.initiator) for datagram in net.seen}
    return sum(h.exchange is ExchangeType.CREATE_CHILD_SA and not h.response for h, _ in headers)


def assert_one(net: Network) -> None:
    """One Child SA of the second connection, in use on both sides, and nobody was told of a failure."""
    net.run(60)
    assert counts(net) == [[1, 1], [1, 1]]
    agree(net)
    for side in net.sides:
        (child,) = tunnel(side, OTHER).clones
        assert (child.cpu, child.state, child.active) == (None, ChildState.INSTALLED, True)
        assert side.kinds(Kind.FAILED) == []
        assert side.backend.transmit(OTHER, 0, 84) is not None


@pytest.mark.parametrize("lowest", ["west", "east"])
@pytest.mark.parametrize("clones", [0, 2])
def test_the_request_with_the_higher_nonce_goes_first(lowest: str, clones: int) -> None:
    net = shared(clones=clones).hold()
    ask(net, lowest)
    for side in net.sides:
        side.take()
    refused, taken = (net.west, net.east) if lowest == "west" else (net.east, net.west)
    assert NotifyType.TEMPORARY_FAILURE in notifies(refused)
    assert NotifyType.TEMPORARY_FAILURE not in notifies(taken)
    net.release()
    assert_one(net)
    assert requests(net) == 2


@pytest.mark.parametrize("lowest", ["west", "east"])
@pytest.mark.parametrize("esp", [ESP, f"{ESP}-dh31-ke1_ecp256-ke3_x448"])
@pytest.mark.parametrize("lost", ["west", "east"])
def test_a_peer_that_has_the_answer_before_the_request(lowest: str, esp: str, lost: str) -> None:
    """One side's first request is lost, its answer is not: it knows of the crossing, the other one does not."""
    net = shared(esp=parse_esp(esp))
    sent = getattr(net, lost).sent
    before = len(sent)
    net.link.drop = lambda data: data in [each.data for each in sent[before : before + 1]] and len(sent) == before + 1
    ask(net, lowest)
    net.link.drop = lambda _: False
    assert_one(net)


@pytest.mark.parametrize("lowest", ["west", "east"])
def test_both_are_answered_before_the_additional_key_exchanges(lowest: str) -> None:
    """The answer to one request is late, so that the other side asks as well; then both know of the crossing."""
    net = shared(esp=parse_esp(f"{ESP}-dh31-ke1_ecp256")).hold()
    bring_up(net.east, 0x00 if lowest == "east" else 0xFF)
    net.west.take()
    bring_up(net.west, 0x00 if lowest == "west" else 0xFF)
    (late,) = (datagram for datagram in net.east.inbox if parse_message(datagram.data).header.response)
    net.east.inbox.remove(late)
    net.east.take()
    net.east.inbox.append(late)
    net.release()
    assert_one(net)


def test_a_peer_that_knows_nothing_of_clones_keeps_both() -> None:
    """It may not do without the newest (Libreswan): nothing is deleted, and nothing is made again and again."""
    net = shared(clones=0)
    sent, before = net.west.sent, len(net.west.sent)
    net.link.drop = lambda data: data in [each.data for each in sent[before : before + 1]] and len(sent) == before + 1
    ask(net, "west")
    net.link.drop = lambda _: False
    net.run(120)
    assert counts(net) == [[1, 2], [1, 2]]
    assert requests(net) == 2
    agree(net)


def test_a_peer_that_refuses_nothing_keeps_what_it_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ikeclone.ike.create_child.CreateChild.goes_before", lambda *_: False)
    net = shared(clones=0)
    ask(net, "west")
    net.run(120)
    assert counts(net) == [[1, 2], [1, 2]]
    assert requests(net) == 2
    agree(net)


@pytest.mark.parametrize("seed", range(6))
def test_over_a_bad_network(seed: int) -> None:
    net = shared(seed)
    net.link.loss, net.link.jitter, net.link.repeat = 0.3, 0.2, 0.2
    ask(net, "west" if seed % 2 else "east")
    net.run(12)
    net.link.loss = net.link.repeat = 0.0
    assert_one(net)


def test_requests_for_different_traffic_do_not_cross() -> None:
    """The east has a third connection: what it asks for is not what the west asks for."""
    net = shared()
    for side in net.sides:
        conn = tunnel(side, OTHER).connection
        side.endpoint.add(replace(conn, name="third", local=moved(conn.local), remote=moved(conn.remote)), net.now)
    for side, name in ((net.west, OTHER), (net.east, "third")):
        tunnel(side, name).up(net.now)
        net.settle(side)
    net.run(5)
    assert [len(tunnel(side, name).clones.children) for side in net.sides for name in (OTHER, "third")] == [1] * 4


@pytest.mark.parametrize("lowest", ["west", "east"])
def test_both_open_the_first_one_of_an_ike_sa_that_was_set_up_without(lowest: str) -> None:
    """The west authenticates anew, and the former IKE SA goes, whoever of both makes the first Child SA."""
    net = Network(west={"childless": Childless.PREFER}).established()
    former = net.west.ike
    net.hold()
    net.west.rekey(reauth=True)
    for _ in range(2):
        net.east.take()
        net.west.first_octet = 0x00 if lowest == "west" else 0xFF
        net.west.take()
    net.east.first_octet = 0x00 if lowest == "east" else 0xFF
    net.east.up()
    assert [side.read().header.exchange for side in net.sides] == [ExchangeType.CREATE_CHILD_SA] * 2
    net.west.first_octet = net.east.first_octet = None
    net.release()
    net.run(40)
    assert [ike_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2
    assert net.west.ike is not former
    net.run(30)
    assert [len(side.children) for side in net.sides] == [1, 1]
    net.assert_consistent()
