"""What a peer, or somebody between, may send but should not: counted, answered as the RFC says, and nothing changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.backend import Path
from ikeclone.connection import Timing
from ikeclone.crypto.registry import parse_esp, parse_ike
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import ChildState
from ikeclone.ike.exchange import Exchange
from ikeclone.ike.host import Settings
from ikeclone.ike.informational import MAX_EARLY_DELETES, DeleteChildren, DeleteIke, Liveness, Withdraw
from ikeclone.ike.opening import MAX_RESTARTS
from ikeclone.ike.rekey_child import RekeyChild
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, KeMethod, NotifyType, PayloadType, ProtocolId
from ikeclone.wire.message import Header, build_message, build_payloads, parse_message
from ikeclone.wire.payloads import Delete, KeyExchange, Nonce, Notify, Payload, Proposal, Sa, TsI, TsR
from tests.pair.groups import ask
from tests.pair.network import EAST, WEST, Network
from tests.pair.scenario import assert_one_tunnel, by_hand, cross, deleted, ike_sa, notifies, only_child

TO_WEST, TO_EAST = Path(WEST, EAST), Path(EAST, WEST)
REFUSAL = build_payloads((Notify(NotifyType.INVALID_SYNTAX),))
MALFORMED = PayloadType.NOTIFY, bytes(4)  # a payload of length zero


def sealed(net: Network, payloads: tuple[Payload, ...], message_id: int, *, initiator: bool = True) -> bytes:
    """A request of west's with its keys."""
    sa = ike_sa(net.west)
    header = Header(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, message_id, initiator, False)
    (datagram,) = sa.channel._protection.seal(header, payloads, None)
    return datagram


def test_a_request_beyond_the_window() -> None:
    net = by_hand()
    net.east.endpoint.receive(sealed(net, (), 1000), TO_EAST, net.now)
    assert net.east.endpoint.counters["request outside the window"] == 1
    assert_one_tunnel(net)


def test_a_reflected_request() -> None:
    """A request of our own that comes back to us bears our role, also when somebody has exchanged its SPIs."""
    net = by_hand()
    net.west.rekey()
    request = net.east.inbox[0].data
    for datagram in (request, request[8:16] + request[:8] + request[16:]):
        net.west.endpoint.receive(datagram, TO_WEST, net.now)
    assert net.west.endpoint.counters == {"unknown ike spi": 1, "wrong initiator flag": 1}
    assert_one_tunnel(net)


def test_a_response_that_nobody_asked_for() -> None:
    net = by_hand()
    net.west.rekey()
    net.east.take()
    answer = net.west.inbox[0].data
    net.west.take()
    net.west.endpoint.receive(answer, TO_WEST, net.now)
    assert net.west.endpoint.counters["response without a request"] == 1
    assert_one_tunnel(net)


def test_a_peer_that_rekeys_one_child_sa_twice() -> None:
    """The second request comes while the first one's new SA is there: to be tried later, and nothing breaks."""
    net = by_hand()
    west, east = net.sides
    old = only_child(west)
    west.rekey()
    east.take()
    old.state = ChildState.INSTALLED
    west.rekey()
    east.take()
    assert notifies(west, 1) == {NotifyType.TEMPORARY_FAILURE}
    assert len(east.children) == 2


def test_a_peer_that_rekeys_the_ike_sa_twice_while_we_do() -> None:
    """Its first request has made a rival of ours; another one would have no place."""
    net = by_hand()
    west, east = net.sides
    cross(net, "none", ike=True)
    (first,) = (sent.data for sent in east.sent[-2:] if not parse_message(sent.data).header.response)
    sa = ike_sa(east)
    message = parse_message(first)
    opened = ike_sa(west).channel.open(message, first)
    assert opened is not None
    again = replace(message.header, message_id=message.header.message_id + 1)
    west.endpoint.receive(seal_raw(sa, again, *opened), TO_WEST, net.now)
    net.settle(west)
    assert notifies(east, len(east.inbox) - 1) == {NotifyType.TEMPORARY_FAILURE}
    assert len(list(west.endpoint.ike_sas())) == 2


def test_a_response_of_another_exchange_than_the_request() -> None:
    net = by_hand()
    sa = ike_sa(net.west)
    ask(net.west, Liveness(sa))
    header = Header(sa.spi_i, sa.spi_r, ExchangeType.CREATE_CHILD_SA, sa.requests.next_id - 1, False, True)
    net.west.endpoint.receive(seal_raw(ike_sa(net.east), header, *REFUSAL), TO_WEST, net.now)
    assert net.west.endpoint.counters == {"response without a request": 1}
    assert_one_tunnel(net)


@pytest.mark.parametrize("count", [10, 1000])
def test_deletes_of_sas_that_we_do_not_know_yet_are_remembered_up_to_a_limit(count: int) -> None:
    """They may have overtaken the answer that makes the SA: one that waits is heeded, and none costs much."""
    net = by_hand()
    west, east = net.sides
    west.rekey()
    for start in range(0, count, 100):
        spis = tuple(spi.to_bytes(4, "big") for spi in range(5000 + start, 5000 + start + min(count, 100)))
        exchange = DeleteChildren(ike_sa(east), ())
        exchange.request = lambda now, spis=spis: (Delete(ProtocolId.ESP, spis),)  # type: ignore[misc,method-assign]
        ask(east, exchange)
        west.take()
    assert len(ike_sa(west).early_deletes) == min(count, MAX_EARLY_DELETES)
    assert_one_tunnel(net)
    assert not ike_sa(west).early_deletes


def test_a_peer_that_rekeys_one_child_sa_twice_while_we_do() -> None:
    """Its first request has made a rival of ours; another one would have no place."""
    net = by_hand()
    west, east = net.sides
    cross(net, "none")
    only = next(child for child in east.children if child.state is ChildState.REKEYING)
    only.state = ChildState.INSTALLED
    answered = len(east.inbox)
    ask(east, RekeyChild(ike_sa(east), only))
    west.take(len(west.inbox) - 1)
    assert notifies(east, answered) == {NotifyType.TEMPORARY_FAILURE}
    assert len(west.children) == 2


def answer(net: Network, exchange: Exchange, first: PayloadType, plaintext: bytes) -> None:
    """Let west start an exchange, which east answers with this."""
    sa = exchange.sa
    sa.enqueue(exchange, net.now)
    (request,) = sa.requests.outstanding.values()
    header = Header(sa.spi_i, sa.spi_r, exchange.type, request.message_id, False, True)
    net.west.endpoint.receive(seal_raw(ike_sa(net.east), header, first, plaintext), TO_WEST, net.now)
    net.settle(net.west)
    assert not sa.requests.outstanding


@pytest.mark.parametrize("content", [REFUSAL, MALFORMED], ids=["refused", "malformed"])
def test_checks_and_deletes_are_done_whatever_the_answer(content: tuple[PayloadType, bytes]) -> None:
    """Any authentic answer shows that the peer is alive, and that it knows what is gone."""
    net = by_hand()
    west = net.west
    sa, child = ike_sa(west), only_child(west)
    for exchange in (Liveness(sa), Withdraw(sa, child.inbound_spi)):
        answer(net, exchange, *content)
    assert west.children == [child]
    answer(net, DeleteChildren(sa, (child,)), *content)
    assert (west.children, sa.state) == ([], State.ESTABLISHED)
    answer(net, DeleteIke(sa, "by hand"), *content)
    assert sa.state is State.DEAD
    assert list(west.endpoint.ike_sas()) == []


@pytest.mark.parametrize("wanted", [b"\0\x0e", b"\0\x1f", b""])
def test_a_forged_demand_for_a_method_that_was_not_offered(wanted: bytes) -> None:
    net = Network(west={"ike": parse_ike("aes_gcm256-sha2_256-dh31+dh19")}).hold()
    net.west.up()
    spi = net.east.inbox[0].data[:8]
    header = Header(spi, bytes(8), ExchangeType.IKE_SA_INIT, 0, False, True)
    demand = build_message(header, (Notify(NotifyType.INVALID_KE_PAYLOAD, wanted),))
    net.west.endpoint.receive(demand, TO_WEST, net.now)
    net.settle(net.west)
    assert "the peer wants the key exchange method" in net.west.kinds(Kind.FAILED)[-1].text


def test_cookies_without_end_are_not_followed() -> None:
    net = Network().hold()
    net.west.up()
    spi = net.east.inbox[0].data[:8]
    header = Header(spi, bytes(8), ExchangeType.IKE_SA_INIT, 0, False, True)
    for number in range(MAX_RESTARTS + 1):
        demand = build_message(header, (Notify(NotifyType.COOKIE, bytes([number])),))
        net.west.endpoint.receive(demand, TO_WEST, net.now)
        net.settle(net.west)
    assert "again and again" in net.west.kinds(Kind.FAILED)[-1].text
    assert len(net.east.inbox) == 1 + MAX_RESTARTS


def test_an_ike_sa_whose_lifetime_ends_is_deleted() -> None:
    """That is what rekey=no asks for."""
    short = {"timing": Timing(ike_lifetime=100), "rekey": False}
    net = Network(west=short).established()
    net.run(200)
    assert [side.children for side in net.sides] == [[], []]
    assert "lifetime ended" in net.west.kinds(Kind.IKE_DOWN)[-1].text
    net.assert_consistent()


def test_a_critical_payload_that_is_not_known_is_named_and_the_ike_sa_stays() -> None:
    net = by_hand()
    sa = ike_sa(net.west)
    header = Header(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, sa.requests.next_id, True, False)
    start = bytes([0, 0x80]) + (4).to_bytes(2, "big")
    datagram = seal_raw(sa, header, 200, start)
    net.east.endpoint.receive(datagram, TO_EAST, net.now)
    net.settle(net.east)
    assert "UNSUPPORTED_CRITICAL_PAYLOAD" in net.east.kinds(Kind.PROGRESS)[-1].text
    sa.requests.next_id += 1
    net.west.inbox.clear()
    assert_one_tunnel(net)


def seal_raw(sa: IkeSa, header: Header, first: int, plaintext: bytes) -> bytes:
    """A protected message whose payloads no builder would make."""
    return sa.channel._protection._datagram(header, PayloadType(first), plaintext)


def test_another_esp_method_is_asked_for_when_a_clone_is_opened() -> None:
    methods = {"west": "aes_gcm256;dh31+dh19", "east": "aes_gcm256;dh19+dh31"}
    west, east = ({"esp": parse_esp(methods[name])} for name in ("west", "east"))
    net = Network(west=west, east=east).established()
    net.west.packet(0)
    net.run(2)
    assert [c.cpu for c in net.west.children] == [None, 0]
    net.assert_consistent()


@pytest.mark.parametrize("number", [42, 8000])
def test_a_rekey_that_is_refused_with_an_error_nobody_knows_is_tried_again(number: int) -> None:
    """All types below 16384 are errors (RFC 7296 section 3.10.1)."""
    net = by_hand()
    (old,) = net.west.children
    sa = ike_sa(net.west)
    answer(net, RekeyChild(sa, old), *build_payloads((Notify(NotifyType(number)),)))
    assert f"rekeying {old.name} failed, will try again: {NotifyType(number).name}" in net.west.reports[-1].text
    net.east.inbox.clear()
    ike_sa(net.east).responses.expected += 1
    assert_one_tunnel(net)
    assert only_child(net.west) is not old


def test_a_response_to_ike_sa_init_of_another_kind_is_left_alone() -> None:
    """Somebody answers with the wrong exchange, message ID or as if he asked; the right answer comes later."""
    net = Network().hold()
    net.west.up()
    spi = net.east.inbox[0].data[:8]
    kinds = [(ExchangeType.IKE_AUTH, 0, True), (ExchangeType.IKE_SA_INIT, 1, True), (ExchangeType.IKE_AUTH, 0, False)]
    for exchange, message_id, response in kinds:
        header = Header(spi, bytes(8), exchange, message_id, False, response)
        stray = build_message(header, (Notify(NotifyType.NO_PROPOSAL_CHOSEN),))
        net.west.endpoint.receive(stray, TO_WEST, net.now)
    assert net.west.endpoint.counters == {"unexpected message during IKE_SA_INIT": 3}
    net.release()
    net.run(1)
    assert_one_tunnel(net)


@pytest.mark.parametrize("ike", [False, True])
def test_an_answer_with_a_public_value_of_another_method_makes_no_sa(ike: bool) -> None:
    """It is tried again; a peer that has made a Child SA of it is told to delete that."""
    net = by_hand()
    west = net.west
    sa, child = ike_sa(west), only_child(west)
    west.rekey(ike=ike)
    asked = net.east.read()
    (offered, *_) = asked.require(Sa).proposals
    chosen = Proposal(offered.protocol, offered.transforms, b"\1" * len(offered.spi), offered.number)
    selectors = () if ike else (TsI(child.agreement.local), TsR(child.agreement.remote))
    public = KeyExchange(KeMethod.ECP_256, bytes(64))
    content = build_payloads((Sa((chosen,)), Nonce(bytes(32)), public, *selectors))
    header = replace(asked.header, initiator=False, response=True)
    west.endpoint.receive(seal_raw(ike_sa(net.east), header, *content), TO_WEST, net.now)
    net.settle(west)
    assert "key exchange is of another method" in west.kinds(Kind.PROGRESS)[-1].text
    assert (ike_sa(west), west.children) == (sa, [child])
    assert not west.backend.reserved
    assert [deleted(net.east, index) for index in range(1, len(net.east.inbox))] == (
        [] if ike else [[int.from_bytes(offered.spi, "big")]]
    )


def test_an_spi_that_no_child_sa_can_have_ends_the_ike_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those up to 255 are reserved (RFC 4303 section 2.1)."""
    net = by_hand()
    monkeypatch.setattr(net.west.backend, "allocate_spi", lambda cpu: 255)
    net.west.rekey()
    net.east.take()
    assert notifies(net.west) == {NotifyType.INVALID_SYNTAX}
    assert "SPI 000000ff in a proposal for ESP" in net.east.kinds(Kind.IKE_DOWN)[-1].text


def test_an_answer_to_ike_sa_init_without_an_spi() -> None:
    net = Network().hold()
    net.west.up()
    net.east.take()
    answer = net.west.inbox.popleft().data
    net.west.endpoint.receive(answer[:8] + bytes(8) + answer[16:], TO_WEST, net.now)
    net.settle(net.west)
    assert "the IKE_SA_INIT response does not fit the request" in net.west.kinds(Kind.FAILED)[-1].text


def test_a_rekey_that_waits_for_its_turn_and_finds_its_sa_going() -> None:
    """The peer takes one request at a time: nothing is asked for in vain, and no SPI is kept."""
    net = Network(settings=Settings(window=1), west={"clones": 0}, east={"clones": 0}).established().hold()
    west = net.west
    sa, child = ike_sa(west), only_child(west)
    for exchange in (Liveness(sa), DeleteChildren(sa, (child,)), RekeyChild(sa, child)):
        ask(west, exchange)
    net.release()
    net.run(1)
    assert [side.children for side in net.sides] == [[], []]
    assert not any(parse_message(d.data).header.exchange is ExchangeType.CREATE_CHILD_SA for d in net.seen)
    net.assert_consistent()
