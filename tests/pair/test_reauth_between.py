"""What happens while an IKE SA takes another's place: rekeys of either, clones, Child SAs that the peer asks for."""

from __future__ import annotations

import pytest

from ikeclone.connection import Childless
from ikeclone.ike.actions import Datagram
from ikeclone.ike.child import ChildState
from ikeclone.ike.rekey_ike import RekeyIke
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType
from ikeclone.wire.message import parse_message
from tests.pair.network import Network, Side
from tests.pair.scenario import cross, delete, ike_sa, watched
from tests.pair.test_reauth import ike_sas
from tests.pair.test_reauth_crossing import ask, assert_one_new, carry, take, with_clones

PREFER = {"childless": Childless.PREFER}


def authenticate(one: Side, other: Side) -> None:
    """The messages that one side's new IKE SA takes."""
    for kind in (ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH):
        take(other, kind)
        take(one, kind, response=True)


def fallbacks(net: Network) -> list[set[tuple[int, int]]]:
    """The SAs that either side takes for the fallback, by the SPIs of west and east."""
    west = {(c.inbound_spi, c.outbound_spi) for c in net.west.children if c.cpu is None}
    return [west, {(c.outbound_spi, c.inbound_spi) for c in net.east.children if c.cpu is None}]


def test_a_clone_waits_for_the_fallback_of_the_new_ike_sa() -> None:
    """What came first would be the fallback to the peer."""
    net = watched(Network(west=PREFER, east=PREFER).established()).hold()
    net.west.rekey(reauth=True)
    authenticate(net.west, net.east)
    net.west.packet(0)
    created = [parse_message(datagram.data).header.exchange for datagram in net.east.inbox]
    assert created == [ExchangeType.CREATE_CHILD_SA]
    net.release()
    carry(net, 5)
    assert_one_new(net, 1)
    assert len(set(map(frozenset, fallbacks(net)))) == 1


@pytest.mark.parametrize("rekeyed", [False, True])
def test_the_former_ike_sa_stays_until_the_peer_has_the_fallback_that_it_asked_for(*, rekeyed: bool) -> None:
    """The peer asks as ours does not arrive; nor does our answer at first. Then the new IKE SA may be rekeyed."""
    net = Network(west=PREFER, east=PREFER).established()
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(2)
    watched(net).hold()
    # Of the two requests for a fallback that of the east goes first.
    net.west.first_octet, net.east.first_octet = 0x00, 0xFF
    former = ike_sa(net.west)
    net.west.rekey(reauth=True)
    authenticate(net.west, net.east)
    new = ike_sa(net.west)

    def drop(data: bytes) -> bool:
        header = parse_message(data).header
        return (header.initiator_spi, header.initiator) == (new.spi_i, True)

    net.link.drop = drop
    net.east.inbox.clear()
    net.release()
    net.run_until(lambda: len(new.children) > 0)
    net.run(3)
    assert [child.state for child in new.children.values()] == [ChildState.INSTALLED]
    assert former.state is State.REKEYED
    assert len(former.children) == 3
    net.link.drop = lambda _: False
    net.run(8)
    assert former.state is State.REKEYED
    if rekeyed:
        net.east.rekey(ike=True)
        net.run(1)
        assert new.successor is ike_sa(net.west)
    carry(net, 30)
    net.run(40)
    assert_one_new(net, 1)
    assert len(set(map(frozenset, fallbacks(net)))) == 1


def test_a_successor_that_was_contested_has_the_child_sas_that_the_peer_deletes_on_it() -> None:
    """Both rekey the IKE SA; one has its successor, authenticates anew, and deletes a clone on the successor."""
    net = with_clones(1).hold()
    for side in net.sides:
        side.rekey(ike=True)
    net.east.take()
    take(net.west, ExchangeType.CREATE_CHILD_SA, response=True)
    successor = ike_sa(net.west)
    assert successor.state is State.ESTABLISHED
    (clone,) = [child for child in net.west.children if child.cpu == 0]
    delete(net.west, clone)
    net.west.rekey(reauth=True)
    net.west.inbox.clear()
    authenticate(net.west, net.east)
    # That the old IKE SA goes too the east hears later.
    (index,) = [i for i, datagram in enumerate(net.east.inbox) if deletes(datagram, successor)]
    net.east.take(index)
    net.east.inbox.clear()
    net.release()
    carry(net, 30)
    net.assert_consistent()
    assert [ike_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2
    assert net.lost_packets == []


def test_both_rekey_and_one_hears_of_it_when_the_other_has_authenticated_anew() -> None:
    """The Child SAs are on the successor that the peer has settled for."""
    net = with_clones(1).hold()
    cross(net, "east's request", ike=True)
    take(net.west, ExchangeType.CREATE_CHILD_SA, response=True)
    successor = ike_sa(net.west)
    net.west.first_octet = net.east.first_octet = None
    net.west.rekey(reauth=True)
    authenticate(net.west, net.east)
    take(net.east, ExchangeType.CREATE_CHILD_SA, response=True)
    (theirs,) = [sa for sa in net.east.endpoint.ike_sas() if sa.spi_i == successor.spi_i]
    assert len(theirs.children) == len(successor.children) == 3
    net.release()
    carry(net, 30)
    assert_one_new(net, 1)


def deletes(datagram: Datagram, sa: IkeSa) -> bool:
    """Whether a datagram is a request to delete something on an IKE SA, or for a sign of life."""
    header = parse_message(datagram.data).header
    return (header.exchange, header.initiator_spi) == (ExchangeType.INFORMATIONAL, sa.spi_i)


def test_what_the_redundant_ike_sa_was_rekeyed_to_goes_in_its_place() -> None:
    """Both authenticated anew at once; whoever asked for the redundant one rekeys it before deleting it."""
    net = with_clones(1)
    lower, higher = ask(net)
    for side in net.sides:
        take(side, ExchangeType.IKE_AUTH)
    for side in net.sides:
        take(side, ExchangeType.IKE_AUTH, response=True)
    redundant = redundant_of(lower)
    redundant.enqueue(RekeyIke(redundant), net.now)
    net.settle(lower)
    take(higher, ExchangeType.CREATE_CHILD_SA)
    take(lower, ExchangeType.CREATE_CHILD_SA, response=True)
    assert redundant.state is State.DELETING
    net.release()
    carry(net, 40)
    assert_one_new(net, 1)
    assert ike_sas(lower) == ike_sas(higher)


def redundant_of(side: Side) -> IkeSa:
    """The new IKE SA that a side asked for, of two that cross the one that goes."""
    (sa,) = [sa for sa in side.endpoint.ike_sas() if sa.initiator and sa.serial > 1 and sa is not side.ike]
    return sa
