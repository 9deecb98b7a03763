"""A new IKE SA with new proofs before the old one goes: nobody loses a packet, and no CPU its clone."""

from __future__ import annotations

import pytest

from ikeclone.connection import Auto, Childless, Timing
from ikeclone.errors import InvalidSyntax
from ikeclone.ike.actions import Kind
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import parse_header, parse_message
from ikeclone.wire.payloads import Notify
from tests.pair.network import NAME, WEST, Network, Side
from tests.pair.scenario import assert_one_tunnel, by_hand, delete, ike_sa, watched
from tests.pair.test_rekey import ping_everything

SHORT = Timing(ike_lifetime=300, child_lifetime=3600, margin=30, retransmit_timeout=20)


@pytest.fixture(params=["west", "east"])
def chosen(request: pytest.FixtureRequest) -> str:
    name = request.param
    assert isinstance(name, str)
    return name


def with_clones(**both: object) -> Network:
    """A tunnel with a clone for each CPU of both sides."""
    net = Network(west=both, east=both).established()
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(2)
    return net


def ike_sas(side: Side) -> list[State]:
    """The states of those that are not only kept to repeat a last answer."""
    return [sa.state for sa in side.endpoint.ike_sas() if sa.state is not State.DEAD]


def cpus(side: Side) -> list[int | None]:
    return [child.cpu for child in side.children]


def assert_all_new(net: Network, spis: set[int], serial: int) -> None:
    """One IKE SA, another one than before, with as many Child SAs as before, all of them others."""
    net.assert_consistent()
    for side in net.sides:
        assert ike_sas(side) == [State.ESTABLISHED]
        assert sorted(cpus(side), key=str) == [0, 1, None]
        assert all(child.active and child.lasts for child in side.children)
        assert [child.instance for child in side.children] == [0, 1, 2]
    assert net.west.ike is not None
    assert net.west.ike.serial > serial
    assert not spis & set(net.west.backend.installed)


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_either_side_authenticates_anew_and_no_packet_is_lost(chosen: str, loss: float) -> None:
    net = with_clones()
    assert net.west.ike is not None
    spis, serial = set(net.west.backend.installed), net.west.ike.serial
    side: Side = getattr(net, chosen)
    net.link.drop = lambda _: net.random.random() < loss
    side.rekey(reauth=True)
    ping_everything(net, 20.0, 0.05)
    net.link.drop = lambda _: False
    net.run(40)
    ping_everything(net, 1.0)
    net.run(5)
    assert_all_new(net, spis, serial)
    assert net.lost_packets == []
    assert [report.text for report in side.kinds(Kind.IKE_REKEYED) if "authenticated anew" in report.text]


def test_clones_are_there_before_the_old_ones_go(chosen: str) -> None:
    net = with_clones()
    side: Side = getattr(net, chosen)
    side.rekey(reauth=True)
    for _ in range(400):
        net.run(0.005)
        for each in net.sides:
            assert {cpu for _, cpu in each.backend.outbound} == {0, 1, None}


def test_reauth_yes_has_the_initiator_authenticate_anew_in_time() -> None:
    net = with_clones(timing=SHORT, reauth=True)
    for _ in range(20):
        ping_everything(net, 0.1)
        net.run(60)
    assert len([r for r in net.west.kinds(Kind.IKE_REKEYED) if "authenticated anew" in r.text]) >= 4
    assert net.east.kinds(Kind.IKE_REKEYED) == []
    assert net.lost_packets == []
    for side in net.sides:
        assert side.kinds(Kind.IKE_DOWN, Kind.FAILED) == []
    net.run(40)
    net.assert_consistent()


def test_a_responder_says_how_long_a_proof_is_good_and_the_initiator_heeds_it() -> None:
    net = Network(east={"timing": SHORT, "reauth": True}).established()
    net.run(1200)
    assert len([r for r in net.west.kinds(Kind.IKE_REKEYED) if "authenticated anew" in r.text]) >= 4
    assert net.west.kinds(Kind.IKE_DOWN) == []


def test_the_notify_has_the_lifetime_in_seconds() -> None:
    net = Network(east={"timing": SHORT, "reauth": True}).hold()
    net.west.up()
    net.east.take()
    net.west.take()
    net.east.take()
    (notify,) = [n for n in net.west.read().all(Notify) if n.type is NotifyType.AUTH_LIFETIME]
    assert int.from_bytes(notify.data, "big") == 300


def test_an_ike_sa_that_is_being_deleted_is_sent_on_no_more() -> None:
    """The peer has deleted it already, and its response is lost; meanwhile a clone of the new one goes."""
    net = watched(with_clones())
    former = ike_sa(net.west)

    def drop(data: bytes) -> bool:
        header = parse_message(data).header
        return header.initiator_spi == former.spi_i and header.response

    net.link.drop = drop
    net.west.rekey(reauth=True)
    net.run(5)
    assert former.state is State.DELETING
    assert former.spi_i not in [sa.spi_i for sa in net.east.endpoint.ike_sas() if sa.state is not State.DEAD]
    (clone,) = [child for child in net.west.children if child.cpu == 0 and child.lasts]
    delete(net.west, clone)
    ping_everything(net, 1.0)
    assert net.lost_packets == []


def test_both_sides_authenticate_anew_at_once() -> None:
    net = with_clones()
    net.west.rekey(reauth=True)
    net.east.rekey(reauth=True)
    ping_everything(net, 5.0, 0.05)
    net.run(120)
    ping_everything(net, 1.0)
    net.run(5)
    net.assert_consistent()
    assert [ike_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2
    assert net.lost_packets == []


def test_without_an_answer_the_ike_sa_that_is_there_stays_and_it_is_tried_again() -> None:
    net = with_clones(timing=SHORT, reauth=True, auto=Auto.START)
    before = net.west.ike
    net.link.drop = lambda data: data[18] == 34  # IKE_SA_INIT
    net.west.reports.clear()
    net.west.rekey(reauth=True)
    net.run(25)
    assert net.west.ike is before
    assert "no response" in net.west.kinds(Kind.FAILED)[0].text
    net.link.drop = lambda _: False
    net.run(20)
    assert net.west.ike is not before
    net.run(40)
    net.assert_consistent()


def test_a_peer_that_does_not_delete_the_old_ike_sa_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    net = with_clones()
    monkeypatch.setattr("ikeclone.ike.reauth.Confirm.response", lambda *_: None)
    net.west.rekey(reauth=True)
    net.run(1)
    assert sorted(state.name for state in ike_sas(net.east)) == ["ESTABLISHED", "REKEYED"]
    net.run(100)
    assert [ike_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2
    net.assert_consistent()


def test_authenticating_anew_is_not_begun_twice() -> None:
    net = with_clones()
    before = len(net.seen)
    net.west.rekey(reauth=True)
    net.west.rekey(reauth=True)
    assert len(net.seen) == before + 1
    net.run(60)
    assert [ike_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2
    net.assert_consistent()


def test_without_a_way_to_the_peer_it_is_tried_again_when_there_is_one() -> None:
    net = Network(west={"timing": SHORT, "reauth": True, "auto": Auto.START}).established()
    before = ike_sa(net.west)
    net.west.addresses()
    net.west.reports.clear()
    due = net.west.endpoint.host.timers.when(net.west.endpoint.tunnels[NAME], "reauth")
    assert due is not None
    net.run(due - net.now)
    assert "this host does not have" in net.west.kinds(Kind.FAILED)[0].text
    assert net.west.ike is before
    net.west.addresses(str(WEST))
    net.run(20)
    assert net.west.ike is not before
    net.run(60)
    net.assert_consistent()


def test_any_sign_of_life_on_the_new_ike_sa_ends_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an answer that makes no sense shows that the new one works."""

    def refuse(*_: object) -> None:
        raise InvalidSyntax

    net = with_clones()
    monkeypatch.setattr("ikeclone.ike.reauth.Confirm.response", refuse)
    net.west.rekey(reauth=True)
    net.run(5)
    assert [ike_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2
    net.assert_consistent()


def test_the_new_ike_sa_is_rekeyed_before_the_old_one_is_deleted() -> None:
    """The old one is not: its last answer is lost. What waits for that takes no harm, and nothing is left of it."""
    net = by_hand()
    west, east = net.sides
    west.rekey()
    east.take()
    west.inbox.clear()
    west.rekey(reauth=True)
    for side in (east, west, east, west):
        side.take()
    west.rekey(ike=True)
    east.take()
    west.take()
    assert east.read().header.exchange is ExchangeType.CREATE_CHILD_SA
    east.take()
    assert len(east.children) == 3
    assert_one_tunnel(net)


def test_one_that_was_given_up_before_the_answer_came_is_tried_again() -> None:
    """The peer has the new IKE SA, and would end the former one: we have no other."""
    net = with_clones(timing=SHORT)
    net.link.drop = lambda data: (header := parse_header(data)).exchange is ExchangeType.IKE_AUTH and header.response
    net.west.rekey(reauth=True)
    net.run_until(lambda: bool(net.west.kinds(Kind.FAILED)))
    assert [len(ike_sas(side)) for side in net.sides] == [1, 2]
    net.link.drop = lambda data: False
    net.run(150)
    assert [ike_sas(side) for side in net.sides] == [[State.ESTABLISHED]] * 2
    assert not net.west.kinds(Kind.IKE_DOWN)
    net.assert_consistent()
    ping_everything(net, 1)
    assert net.lost_packets == []


def of_west(data: bytes, *, responses: bool) -> bool:
    """Whether this is west's part in CREATE_CHILD_SA, on an IKE SA that it has asked for."""
    header = parse_header(data)
    return (header.exchange, header.response, header.initiator) == (ExchangeType.CREATE_CHILD_SA, responses, True)


def test_the_former_ike_sa_stays_until_the_peer_has_our_answer_that_makes_the_fallback() -> None:
    """The peer opens it on the new IKE SA, as neither has it in IKE_AUTH, and our answer is lost for a while."""
    both = {"childless": Childless.PREFER, "clones": 0}
    net = watched(Network(west=both, east=both).established())
    net.west.reports.clear()
    net.link.drop = lambda data: of_west(data, responses=False) or of_west(data, responses=True)
    net.west.rekey(reauth=True)
    net.run_until(lambda: bool(net.west.kinds(Kind.IKE_REKEYED)))
    net.link.drop = lambda data: of_west(data, responses=True)
    net.run(8)
    net.link.drop = lambda data: False
    net.run(40)
    assert_one_tunnel(net)
