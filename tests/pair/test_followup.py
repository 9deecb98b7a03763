"""IKE_FOLLOWUP_KE: additional key exchanges of new and rekeyed Child SAs and of rekeyed IKE SAs (RFC 9370)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ikeclone.connection import Auto, Childless
from ikeclone.crypto.registry import parse_esp, parse_ike
from ikeclone.ike.actions import Kind
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.followup import MOST_TRIES, FollowUp
from ikeclone.ike.followup_responder import MOST, PATIENCE, FollowUps
from ikeclone.ike.host import Settings
from ikeclone.numbers import ExchangeType, KeMethod, NotifyType
from ikeclone.wire.message import parse_message
from ikeclone.wire.payloads import KeyExchange
from tests.pair.groups import create, traffic_until_quiet
from tests.pair.network import ESP, IKE, Network, Side
from tests.pair.scenario import (
    assert_never_down,
    assert_one_tunnel,
    by_hand,
    ike_sa,
    notifies,
    only_child,
    rounds,
)

BOTH = {"ike": parse_ike(f"{IKE}-ke1_mlkem768-ke2_ecp256"), "esp": parse_esp(f"{ESP}-dh31-ke1_mlkem768-ke3_x448")}


@pytest.fixture
def net() -> Network:
    return by_hand(**BOTH)


def forgetful(expect: Callable[..., Payloads]) -> Callable[..., Payloads]:
    """A responder that has forgotten what it announces when the peer goes on with it."""

    def expect_and_forget(followups: FollowUps, *arguments: Any) -> Payloads:
        payloads = expect(followups, *arguments)
        followups.clear()
        return payloads

    return expect_and_forget


def take_all(side: Side) -> None:
    while side.inbox:
        side.take()


@pytest.mark.parametrize("ike", [False, True])
def test_rekey(net: Network, roles: tuple[Side, Side], ike: bool) -> None:
    """The answers name the next round, the last one none; the new SA is there when that has come."""
    us, peer = roles
    before = ike_sa(us), only_child(us)
    us.rekey(ike=ike)
    for last in (False, False, True):
        assert len(list(peer.endpoint.ike_sas())) == len(peer.children) == 1
        take_all(peer)
        assert (NotifyType.ADDITIONAL_KEY_EXCHANGE in notifies(us)) is not last
        take_all(us)
    assert_one_tunnel(net)
    assert_never_down(net)
    assert (ike_sa(us) is not before[0]) is ike
    assert (only_child(us) is not before[1]) is not ike
    west, east = (ike_sa(side) for side in net.sides)
    assert west.keys == east.keys
    assert rounds(net) == 2


def test_the_link_is_that_of_the_peer() -> None:
    net = by_hand(esp=parse_esp(f"{ESP}-ke1_ecp256"))
    net.west.rekey()
    take_all(net.east)
    link = net.west.read().notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
    assert link is not None
    take_all(net.west)
    assert net.east.read().notify(NotifyType.ADDITIONAL_KEY_EXCHANGE) == link


@pytest.mark.parametrize("ike", [False, True])
def test_a_responder_that_forgot_says_so(net: Network, ike: bool) -> None:
    west, east = net.sides
    west.rekey(ike=ike)
    east.take()
    ike_sa(east).followups.clear()
    west.take()
    while east.inbox:
        east.take()
    assert notifies(west) == {NotifyType.STATE_NOT_FOUND}
    assert_one_tunnel(net)
    assert_never_down(net)


@pytest.mark.parametrize("ike", [False, True])
def test_a_responder_that_forgets_again_and_again_is_left(ike: bool) -> None:
    """After several tries the IKE SA is deleted (RFC 9370 section 2.2.4), and the connection comes up anew."""
    net = Network(west={**BOTH, "auto": Auto.START}, east=BOTH).established()
    west, east = net.sides
    before = ike_sa(west)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FollowUps, "expect", forgetful(FollowUps.expect))
        west.rekey(ike=ike)
        net.run(60)
    assert west.kinds(Kind.IKE_DOWN)[-1].text.endswith(f"the peer answers STATE_NOT_FOUND, {MOST_TRIES} times in a row")
    assert east.kinds(Kind.IKE_DOWN)[-1].text.endswith("deleted by the peer")
    net.run(60)
    assert ike_sa(west) is not before
    net.assert_consistent()


def test_a_responder_that_forgets_now_and_then_is_kept(net: Network) -> None:
    west, east = net.sides
    for _ in range(MOST_TRIES):
        for forgets in (True, False):
            west.rekey()
            east.take()
            if forgets:
                ike_sa(east).followups.clear()
            net.release()
            net.run(0.5 if forgets else 10)
            net.hold()
    assert_one_tunnel(net)
    assert_never_down(net)


def test_a_fallback_that_the_responder_forgot_is_asked_for_again() -> None:
    net = Network(west={**BOTH, "childless": Childless.FORCE}, east=BOTH)
    net.link.drop = lambda data: parse_message(data).header.exchange is ExchangeType.IKE_FOLLOWUP_KE
    net.west.up()
    net.run(PATIENCE + 5)
    assert net.west.children == []
    net.link.drop = lambda _: False
    net.run(60)
    assert NotifyType.STATE_NOT_FOUND.name in "".join(report.text for report in net.west.reports)
    assert_one_tunnel(net)


@pytest.mark.parametrize("ike", [False, True])
def test_an_initiator_that_does_not_go_on_is_forgotten(net: Network, ike: bool) -> None:
    west, east = net.sides
    west.rekey(ike=ike)
    east.take()
    west.inbox.clear()
    assert bool(east.backend.reserved) is not ike
    net.run(PATIENCE + 1)
    assert not east.backend.reserved


@pytest.mark.parametrize("ike", [False, True])
def test_both_rekey_at_once(net: Network, ike: bool) -> None:
    for _ in range(5):
        for side in net.sides:
            side.rekey(ike=ike)
        net.release()
        net.run(120)
        net.hold()
    assert_one_tunnel(net)
    assert_never_down(net)
    assert all(len(side.kinds(Kind.IKE_REKEYED if ike else Kind.CHILD_REKEYED)) >= 5 for side in net.sides)


@pytest.mark.parametrize("fragment_size", [1228, 300])
def test_clones(fragment_size: int) -> None:
    """Each clone has its own rounds, fragmented too."""
    both = {**BOTH, "clones": None}
    net = Network(cpus=(3, 3), west=both, east=both, settings=Settings(fragment_size=fragment_size)).established()
    traffic_until_quiet(net)
    opened = {child.cpu for child in net.west.children}
    assert opened == {None, 0, 1, 2}
    assert rounds(net) == 2 * (len(net.west.children) - 1)
    net.west.rekey()
    traffic_until_quiet(net)
    assert net.lost_packets == []
    net.assert_consistent()


def test_there_is_room_for_no_more_clones_than_without_them() -> None:
    """Each of a dozen clones that are negotiated at a time would find room at its beginning, but not at its end."""
    both = {**BOTH, "clones": 12}
    net = Network(cpus=(12, 2), west=both, east={**BOTH, "clones": 2}, delay=0.05).established()
    for cpu in range(12):
        net.west.packet(cpu)
    net.run(20)
    assert sum(child.cpu is not None for child in net.east.children) == 4
    assert net.west.kinds(Kind.REFUSED)
    net.run(60)
    net.assert_consistent()


def test_a_cpu_that_goes_meanwhile_gets_no_clone() -> None:
    net = Network(west={**BOTH, "clones": 1}, east={**BOTH, "clones": 1}, cpus=(2, 2)).established().hold()
    net.west.packet(0)
    take_all(net.east)
    net.east.backend.online = frozenset({1})
    net.release()
    net.run(3)
    assert [child.cpu for child in net.east.children] == [None]
    net.assert_consistent()


@pytest.mark.parametrize("ike", [False, True])
def test_an_answer_that_does_not_say_what_comes_next_is_none(net: Network, ike: bool) -> None:
    """Additional key exchanges are agreed on, and their link is missing: it is tried again."""
    west, east = net.sides
    before = ike_sa(west), only_child(west)
    west.rekey(ike=ike)
    expect = FollowUps.expect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FollowUps, "expect", lambda *arguments: expect(*arguments)[:0])
        east.take()
    west.take()
    assert "no ADDITIONAL_KEY_EXCHANGE" in west.kinds(Kind.PROGRESS)[-1].text
    assert (ike_sa(west), only_child(west)) == before
    assert not west.backend.reserved
    net.run(31)
    assert_one_tunnel(net)


def test_a_round_with_another_method_than_agreed_on_ends_it(net: Network) -> None:
    west, east = net.sides
    west.rekey()
    east.take()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FollowUp, "request", lambda self, now: (KeyExchange(KeMethod.CURVE25519, bytes(32)), self._link))
        west.take()
    east.take()
    assert notifies(west) == {NotifyType.INVALID_SYNTAX}
    assert "a key exchange with CURVE25519 where ML_KEM_768 was agreed on" in east.kinds(Kind.IKE_DOWN)[-1].text
    assert not east.backend.reserved


def test_of_many_that_are_left_undone_the_oldest_is_forgotten(net: Network) -> None:
    """A peer that begins again and again, and never goes on, costs no more than so many SPIs."""
    west, east = net.sides
    for _ in range(MOST + 1):
        create(west, None, None)
        take_all(east)
        west.inbox.clear()
        ike_sa(west).requests.drop()
        assert len(east.backend.reserved) <= MOST
    assert len(east.backend.reserved) == MOST
