"""Setting up an IKE SA without a Child SA, message by message."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.connection import Auto, Childless
from ikeclone.errors import TemporaryFailure
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Message, parse_message
from ikeclone.wire.payloads import KeyExchange, Sa, TsI, TsR
from tests.pair.network import NAME, Network, Side
from tests.pair.scenario import (
    assert_carries,
    assert_no_child,
    assert_nothing,
    assert_one_tunnel,
    ike_sa,
    notifies,
    only_child,
    watched,
)

CHILD_PAYLOADS = (Sa, TsI, TsR)


def apart(west: Childless = Childless.ALLOW, east: Childless = Childless.ALLOW) -> Network:
    """Two sides without any SA; every IKE message waits to be taken."""
    return Network(west={"clones": 0, "childless": west}, east={"clones": 0, "childless": east}).hold()


def init(net: Network, *, announced: bool) -> None:
    """IKE_SA_INIT, whose response says that there need be no Child SA, or not."""
    net.east.take()
    response = parse_message(net.west.inbox[0].data)
    assert (response.notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED) is not None) is announced
    net.west.take()


def has_child(message: Message) -> list[bool]:
    """Which of the payloads about a Child SA are there."""
    return [message.first(kind) is not None for kind in CHILD_PAYLOADS]


def established(side: Side) -> bool:
    return [sa.state for sa in side.endpoint.ike_sas()] == [State.ESTABLISHED] and side.children == []


def auth_without_child(net: Network) -> None:
    """IKE_AUTH in which neither side speaks of a Child SA."""
    west, east = net.sides
    assert not any(has_child(east.read()))
    east.take()
    assert not any(has_child(west.read()))
    west.take()
    assert established(west)
    assert established(east)
    assert not west.kinds(Kind.CHILD_UP) + east.kinds(Kind.CHILD_UP)


def create_child(net: Network) -> None:
    """CREATE_CHILD_SA with a key exchange of its own."""
    west, east = net.sides
    assert east.read().header.exchange is ExchangeType.CREATE_CHILD_SA
    assert east.read().first(KeyExchange) is not None
    east.take()
    assert len(east.children) == 1
    assert west.read().first(KeyExchange) is not None
    west.take()
    assert len(west.children) == 1
    assert [len(side.kinds(Kind.CHILD_UP)) for side in net.sides] == [1, 1]
    assert_one_tunnel(net)


def test_regular() -> None:
    """The initiator insists; the first Child SA follows by itself."""
    net = apart(west=Childless.FORCE)
    net.west.up()
    init(net, announced=True)
    auth_without_child(net)
    create_child(net)


def test_regular_manual() -> None:
    """Only the IKE SA is brought up; the Child SA comes when it is asked for."""
    net = apart()
    tunnel = net.west.endpoint.tunnels[NAME]
    tunnel.up(net.now, ike_only=True)
    net.settle(net.west)
    init(net, announced=True)
    auth_without_child(net)
    assert not net.east.inbox
    tunnel.up(net.now, ike_only=True)
    net.run(1)
    assert not net.east.inbox
    net.west.up()
    create_child(net)


def test_an_ike_sa_alone_is_authenticated_anew_and_opened_by_traffic() -> None:
    net = Network(west={"clones": 0}, east={"clones": 0})
    tunnel = net.west.endpoint.tunnels[NAME]
    tunnel.up(net.now, ike_only=True)
    net.settle(net.west)
    net.run(5)
    before = ike_sa(net.west)
    net.west.rekey(reauth=True)
    net.run(120)
    assert ike_sa(net.west) is not before
    assert established(net.west)
    assert established(net.east)
    net.west.packet(0)
    net.run(5)
    assert [len(side.children) for side in net.sides] == [1, 1]


def test_the_responder_opens_the_child_sa_that_it_wants() -> None:
    """The initiator has lost all, and brings up the IKE SA alone."""
    net = Network(west={"clones": 0}, east={"clones": 0, "auto": Auto.START})
    net.run(5)
    net.west.start()
    net.west.up(ike_only=True)
    net.run(5)
    assert_one_tunnel(net)


def test_what_is_up_keeps_its_child_sa_when_the_ike_sa_alone_is_asked_for() -> None:
    """It is authenticated anew then, without a Child SA in IKE_AUTH."""
    prefer = {"childless": Childless.PREFER, "clones": 0}
    net = watched(Network(west=prefer, east=prefer).established())
    net.west.up(ike_only=True)
    net.west.rekey(reauth=True)
    net.run(120)
    assert_one_tunnel(net)


def asked_by_east(data: bytes) -> bool:
    header = parse_message(data).header
    return header.exchange is ExchangeType.CREATE_CHILD_SA and not header.initiator and not header.response


def test_a_child_sa_that_the_peer_refuses_for_a_moment_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The IKE SA that takes another's place has none yet; the peer's own requests for one are lost."""
    prefer = {"childless": Childless.PREFER}
    net = watched(Network(west=prefer, east=prefer, settings=Settings(retry_delay=2.0)).established())
    answers = iter([True])

    def check(*_: object) -> None:
        if next(answers, False):
            raise TemporaryFailure("not now")

    monkeypatch.setattr("ikeclone.ike.create_child._check_crossing", check)
    net.link.drop = asked_by_east
    before = only_child(net.west)
    net.west.rekey(reauth=True)
    net.run(20)
    assert next(answers, None) is None
    assert only_child(net.west).serial > before.serial
    net.link.drop = lambda _: False
    net.run(60)
    assert_one_tunnel(net)


def test_an_ike_sa_alone_that_has_got_a_child_sa_keeps_it() -> None:
    """The peer has opened it."""
    net = Network(west={"clones": 0}, east={"clones": 0})
    net.west.up(ike_only=True)
    net.run(5)
    net.east.up()
    net.run(5)
    watched(net)
    net.west.rekey(reauth=True)
    net.run(120)
    assert_one_tunnel(net)


def test_an_ike_sa_alone_that_was_rekeyed_keeps_the_child_sa_that_the_peer_opens() -> None:
    """It does not take its own place."""
    net = Network(west={"clones": 0}, east={"clones": 0})
    net.west.up(ike_only=True)
    net.run(5)
    net.west.rekey(ike=True)
    net.run(60)
    net.east.up()
    net.run(5)
    watched(net)
    net.run(60)
    assert_one_tunnel(net)


def test_an_ike_sa_alone_stays_so_when_the_peer_authenticates_anew() -> None:
    """Whoever asks for it, neither side then wants the Child SA that IKE_AUTH does without."""
    both = {"clones": 0, "childless": Childless.PREFER}
    net = Network(west=both, east=both)
    for side in (net.west, net.east):
        side.up(ike_only=True)
        net.run(5)
    net.east.rekey(reauth=True)
    net.run(120)
    assert_no_child(net)
    assert ike_sa(net.west).initiator is False
    assert not net.west.kinds(Kind.CHILD_UP) + net.east.kinds(Kind.CHILD_UP)


def test_an_ike_sa_alone_with_a_peer_that_does_not_take_it() -> None:
    net = apart(east=Childless.NEVER)
    net.west.endpoint.tunnels[NAME].up(net.now, ike_only=True)
    net.settle(net.west)
    init(net, announced=False)
    assert "up --ike" in net.west.kinds(Kind.FAILED)[0].text


def test_failure_init() -> None:
    """The initiator insists, and the responder does not take it: nothing is tried."""
    net = apart(west=Childless.FORCE, east=Childless.NEVER)
    net.west.up()
    init(net, announced=False)
    assert not net.east.inbox
    assert "childless=force" in net.west.kinds(Kind.FAILED)[0].text
    net.west.down()
    assert_nothing(net)


def test_failure_resp() -> None:
    """The responder insists, and the initiator does not do without a Child SA."""
    net = apart(west=Childless.NEVER, east=Childless.FORCE)
    net.west.up()
    init(net, announced=True)
    assert all(has_child(net.east.read()))
    net.east.take()
    assert not any(has_child(net.west.read()))
    assert NotifyType.INVALID_SYNTAX in notifies(net.west)
    net.west.take()
    net.west.down()
    assert_nothing(net)


def test_preferred_with_a_peer_that_does_not_take_it() -> None:
    net = apart(west=Childless.PREFER, east=Childless.NEVER)
    net.west.up()
    init(net, announced=False)
    assert all(has_child(net.east.read()))
    assert_one_tunnel(net)


def test_a_peer_that_asks_for_nothing_unasked() -> None:
    """Who did not say that it takes it answers INVALID_SYNTAX (RFC 6023 section 4)."""
    net = apart(west=Childless.FORCE)
    net.west.up()
    init(net, announced=True)
    tunnel = net.east.endpoint.tunnels[NAME]
    tunnel.connection = replace(tunnel.connection, childless=Childless.NEVER)
    net.east.take()
    assert NotifyType.INVALID_SYNTAX in notifies(net.west)
    net.west.take()
    net.west.down()
    assert_nothing(net)


def test_clones_reauthentication_and_rekeys() -> None:
    """All that follows is as with a Child SA from IKE_AUTH: nothing is lost and every CPU keeps its clone."""
    net = Network(west={"childless": Childless.FORCE}, east={"childless": Childless.FORCE}).established()
    for cpu in (0, 1):
        net.west.packet(cpu)
    net.run(5)
    assert [len(side.children) for side in net.sides] == [3, 3]
    before = ike_sa(net.west)
    net.west.rekey(reauth=True)
    net.run(120)
    assert ike_sa(net.west) is not before
    assert [len(list(side.endpoint.ike_sas())) for side in net.sides] == [1, 1]
    assert [len(side.children) for side in net.sides] == [3, 3]
    net.assert_consistent()
    assert_carries(net)
