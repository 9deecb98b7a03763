"""IKE_INTERMEDIATE: additional key exchanges before IKE_AUTH (RFC 9242, RFC 9370)."""

from __future__ import annotations

import pytest

from ikeclone.backend import Path
from ikeclone.crypto.registry import parse_ike
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.intermediate import Intermediate
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, KeMethod, NotifyType
from ikeclone.wire.message import Header, Message, parse_message
from ikeclone.wire.payloads import KeyExchange, Notify
from tests.pair.network import EAST, IKE, WEST, Network

HYBRID = f"{IKE}-ke1_mlkem768"
OPTIONAL = f"{IKE}-ke1_mlkem768-ke1_none"


def network(west: str, east: str, **more: object) -> Network:
    """A network whose sides have these `ike=`."""
    return Network(west={"ike": parse_ike(west)}, east={"ike": parse_ike(east)}, **more)  # type: ignore[arg-type]


def seen(net: Network, exchange: ExchangeType) -> list[Message]:
    """The datagrams of an exchange that were sent so far."""
    messages = [parse_message(datagram.data) for datagram in net.seen]
    return [message for message in messages if message.header.exchange is exchange]


def announces(message: Message) -> bool:
    return any(n.type is NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED for n in message.all(Notify))


@pytest.mark.parametrize(
    ("words", "methods"),
    [
        ("ke1_mlkem768", ["ML_KEM_768"]),
        ("addke1=ml_kem_1024", ["ML_KEM_1024"]),
        ("ke1_modp2048-ke2_ecp384-ke3_mlkem768", ["MODP_2048", "ECP_384", "ML_KEM_768"]),
        ("ke2_x448-ke7_ecp256bp", ["CURVE448", "BRAINPOOL_P256"]),
    ],
)
def test_additional_key_exchanges(words: str, methods: list[str]) -> None:
    net = network(f"{IKE}-{words}", f"{IKE}-{words}").established()
    west, east = (side.ike for side in net.sides)
    assert west is not None
    assert east is not None
    assert [method.name for method in west.suite.additional] == methods
    assert west.keys == east.keys
    ids = {message.header.message_id for message in seen(net, ExchangeType.IKE_INTERMEDIATE)}
    assert ids == set(range(1, len(methods) + 1))
    assert all(announces(message) for message in seen(net, ExchangeType.IKE_SA_INIT))
    net.assert_consistent()


def test_without_the_additional_exchange_keys_would_be_others() -> None:
    net = network(HYBRID, HYBRID).hold()
    net.west.up()
    net.east.take()
    net.west.take()
    before = next(net.west.endpoint.ike_sas()).keys
    net.release()
    net.run(1)
    after = next(net.west.endpoint.ike_sas()).keys
    fields = ("sk_d", "sk_ai", "sk_ei", "sk_er", "sk_pi", "sk_pr")
    assert all(getattr(before, name) != getattr(after, name) for name in fields if getattr(after, name))


@pytest.mark.parametrize(("west", "east"), [(OPTIONAL, IKE), (IKE, OPTIONAL), (IKE, IKE)])
def test_an_optional_exchange_is_left_out_with_a_peer_that_does_not_know_it(west: str, east: str) -> None:
    net = network(west, east).established()
    assert net.west.ike is not None
    assert net.west.ike.suite.additional == ()
    assert seen(net, ExchangeType.IKE_INTERMEDIATE) == []
    request, response = seen(net, ExchangeType.IKE_SA_INIT)
    assert announces(request) == (west == OPTIONAL)
    assert not announces(response)


def test_an_optional_exchange_is_done_when_both_know_it() -> None:
    net = network(OPTIONAL, OPTIONAL).established()
    assert net.west.ike is not None
    assert net.west.ike.suite.additional == (KeMethod.ML_KEM_768,)


@pytest.mark.parametrize(("west", "east"), [(HYBRID, IKE), (IKE, HYBRID)])
def test_a_demanded_exchange_that_the_peer_does_not_take(west: str, east: str) -> None:
    net = network(west, east)
    net.west.up()
    net.run(1)
    assert [side.ike for side in net.sides] == [None, None]


@pytest.mark.parametrize(("method", "limit"), [("mlkem1024", 1228), ("mlkem768", 700), ("mlkem768", 300)])
def test_fragments(method: str, limit: int) -> None:
    """ML-KEM's values do not fit into IKE_SA_INIT, which cannot be fragmented; here they can."""
    words = f"{IKE}-ke1_{method}"
    net = network(words, words, settings=Settings(fragment_size=limit)).established()
    init = ExchangeType.IKE_SA_INIT
    assert max(len(d.data) for d in net.seen if parse_message(d.data).header.exchange is not init) <= limit
    assert max(len(d.data) for d in net.seen if parse_message(d.data).header.exchange is init) < 400
    assert len(seen(net, ExchangeType.IKE_INTERMEDIATE)) > 2
    net.assert_consistent()


@pytest.mark.parametrize("exchange", [ExchangeType.IKE_INTERMEDIATE, ExchangeType.IKE_AUTH])
def test_a_lost_answer_is_repeated_under_the_keys_it_was_given_with(exchange: ExchangeType) -> None:
    net = network(f"{HYBRID}-ke2_ecp256", f"{HYBRID}-ke2_ecp256")
    lost: list[bytes] = []

    def lose_each_answer_once(data: bytes) -> bool:
        header = parse_message(data).header
        if header.response and header.exchange is exchange and data not in lost:
            lost.append(data)
            return True
        return False

    net.link.drop = lose_each_answer_once
    net.established()
    assert lost
    net.assert_consistent()


@pytest.mark.parametrize("loss", [0.2, 0.4])
def test_a_bad_network(loss: float) -> None:
    for seed in range(10):
        net = network(f"{HYBRID}-ke2_ecp256", f"{HYBRID}-ke2_ecp256", seed=seed)
        net.link.loss, net.link.repeat, net.link.jitter = loss, 0.3, 1.0
        net.west.up()
        net.run(120)
        net.link.loss = net.link.repeat = net.link.jitter = 0.0
        net.west.up()
        net.run(120)
        assert all(side.children for side in net.sides)
        net.assert_consistent()


def test_ike_auth_before_the_exchange_is_done_ends_the_half_open_sa() -> None:
    net = network(HYBRID, HYBRID).hold()
    net.west.up()
    net.east.take()
    tunnel = next(iter(net.west.endpoint.tunnels.values()))
    proceed = tunnel.approach.proceed
    tunnel.approach.proceed = lambda sa, record, methods, now: proceed(sa, record, (), now)  # type: ignore[method-assign]
    net.west.take()
    net.east.take()
    assert [sa.state for sa in net.east.endpoint.ike_sas()] == [State.DEAD]
    assert net.east.children == []


def test_an_exchange_more_than_was_agreed_on_ends_the_half_open_sa() -> None:
    net = network(HYBRID, HYBRID).hold()
    net.west.up()
    net.east.take()
    tunnel = next(iter(net.west.endpoint.tunnels.values()))
    proceed, again = tunnel.approach.proceed, (KeMethod.ML_KEM_768,)
    tunnel.approach.proceed = lambda sa, record, methods, now: proceed(sa, record, again, now)  # type: ignore[method-assign]
    net.west.take()
    while net.east.inbox:
        net.east.take()
    while net.west.inbox:
        net.west.take()
    while net.east.inbox:
        net.east.take()
    assert [sa.state for sa in net.east.endpoint.ike_sas()] == [State.DEAD]


def test_what_was_said_is_authenticated() -> None:
    """Keys alone do not tell: a side that heard something else in IKE_INTERMEDIATE is not who it says."""
    net = network(HYBRID, HYBRID).hold()
    net.west.up()
    net.east.take()
    net.west.take()
    while net.east.inbox:
        net.east.take()
    next(net.east.endpoint.ike_sas()).channel.transcript._initiator += b"!"
    net.release()
    net.run(1)
    assert net.east.ike is None


@pytest.mark.parametrize("refusal", [NotifyType.INVALID_SYNTAX, NotifyType(8191)])
def test_an_exchange_that_the_responder_refuses_ends_the_attempt(refusal: NotifyType) -> None:
    net = network(HYBRID, HYBRID).hold()
    net.west.up()
    net.east.take()
    net.west.take()
    (sa,), (mine,) = net.east.endpoint.ike_sas(), net.west.endpoint.ike_sas()
    header = Header(sa.spi_i, sa.spi_r, ExchangeType.IKE_INTERMEDIATE, 1, False, True)
    (answer,) = sa.channel._protection.seal(header, (Notify(refusal),), None)
    net.west.endpoint.receive(answer, Path(WEST, EAST), net.now)
    net.settle(net.west)
    assert mine.state is State.DEAD
    assert refusal.name in net.west.kinds(Kind.FAILED)[-1].text


def test_additional_exchanges_of_a_peer_that_does_not_say_how_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are offered without INTERMEDIATE_EXCHANGE_SUPPORTED (RFC 9370 section 2.2.1)."""
    both = {"ike": parse_ike("aes_gcm256-sha2_256-dh31-ke1_mlkem768")}
    net = Network(west=both, east=both)
    monkeypatch.setattr("ikeclone.ike.init._intermediate", lambda proposals: ())
    net.west.up()
    net.run(1)
    assert "NO_PROPOSAL_CHOSEN" in net.west.kinds(Kind.FAILED)[-1].text
    assert any("without IKE_INTERMEDIATE" in report.text for report in net.east.reports)


def test_an_exchange_with_another_method_than_agreed_on_ends_the_half_open_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"ike": parse_ike("aes_gcm256-sha2_256-dh31-ke1_mlkem768")}
    net = Network(west=both, east=both)
    other = KeyExchange(KeMethod.CURVE25519, bytes(32))
    monkeypatch.setattr(Intermediate, "request", lambda self, now: (other,))
    net.west.up()
    net.run(1)
    assert any("where ML_KEM_768 was agreed on" in report.text for report in net.east.reports)
    assert "INVALID_SYNTAX" in net.west.kinds(Kind.FAILED)[-1].text
