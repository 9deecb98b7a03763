"""EAP in IKE_AUTH: a road warrior with name and password, a gateway with a certificate (RFC 7296 section 2.16)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from ikeclone.connection import Authby, Choice, Password, Ppk, Redirection, Timing
from ikeclone.credentials import Credentials
from ikeclone.crypto.mschap import Exchange
from ikeclone.eap.packet import Packet
from ikeclone.errors import LocalError
from ikeclone.ike.actions import Kind
from ikeclone.ike.authentication import EapKey
from ikeclone.ike.eap_auth import MAX_ROUNDS, EapResponder, EapRound
from ikeclone.numbers import AuthMethod, EapCode, EapType, ExchangeType, NotifyType
from ikeclone.pki.store import Store
from ikeclone.selectors import TrafficSelector
from ikeclone.wire.message import Message, parse_message
from ikeclone.wire.payloads import Auth, Certificate, Eap, IdR, Notify, Sa, TsI
from tests.pair.certified import ROOT, SIGNATURES, Host, attempt, is_up, issue, told
from tests.pair.network import EAST, EAST_END, NAME, WEST_END, Network, connection
from tests.pair.scenario import assert_nothing_left
from tests.pair.test_sharing import living

EAP = Authby(eap=(EapType.MSCHAPV2,))
GATEWAY = issue("east")
RIGHT = "clientPass"


def warrior(password: str = RIGHT, user: str = "alice", wanted: str | None = None, **link: object) -> Network:
    """West has a name and a password, east a certificate and everybody's passwords."""
    host = Host(GATEWAY)
    net = Network(
        west={"local": replace(WEST_END, auth=EAP, user=user), "remote": host.remote(EAST_END)},
        east={"local": host.local(EAST_END), "remote": replace(WEST_END, auth=EAP, user=wanted)},
    )
    users = Password("alice", RIGHT), Password("bob", "other")
    net.east.credentials = replace(host.credentials(), passwords=users)
    net.west.credentials = Credentials(store=Store((ROOT.certificate,)), passwords=(Password(user, password),))
    for side in net.sides:
        side.start()
    for name, value in link.items():
        setattr(net.link, name, value)
    return net


def begun(**options: str) -> Network:
    """IKE_SA_INIT is done, and the first IKE_AUTH request waits for the gateway."""
    net = warrior(**options).hold()
    net.west.up()
    net.east.take()
    net.west.take()
    return net


def kinds(message: Message) -> list[type]:
    return [type(payload) for payload in message.payloads if not isinstance(payload, Notify | Certificate)]


def test_name_and_password() -> None:
    net = warrior()
    assert is_up(attempt(net))
    assert str(net.east.endpoint.tunnels[NAME].peer) == "alice"
    assert str(net.west.endpoint.tunnels[NAME].peer) == "@east"
    assert net.west.packet(0)
    net.run(1)
    assert net.lost_packets == []


def test_the_rounds_on_the_wire() -> None:
    net = begun()
    request = net.east.read()
    assert request.first(Auth) is None
    net.east.take()
    first = net.west.read()
    assert kinds(first) == [IdR, Auth, Eap]
    assert first.require(Auth).method is AuthMethod.DIGITAL_SIGNATURE
    codes = []
    while (packet := net.west.read().first(Eap)) is not None:
        codes.append((Packet.parse(packet.data).code, Packet.parse(packet.data).type))
        net.west.take()
        net.east.take()
    assert codes == [
        (EapCode.REQUEST, EapType.IDENTITY),
        (EapCode.REQUEST, EapType.MSCHAPV2),
        (EapCode.REQUEST, EapType.MSCHAPV2),
        (EapCode.SUCCESS, None),
    ]
    last = net.west.read()
    assert last.require(Auth).method is AuthMethod.SHARED_KEY
    assert {Sa, TsI} <= set(kinds(last))
    net.release()
    net.run(2)
    assert is_up(net)


def test_a_wrong_password_is_told_to_both_and_leaves_nothing() -> None:
    net = attempt(warrior("wrong"))
    assert "the name or the password is wrong" in told(net.west)
    assert "EAP Failure" in told(net.east)
    assert_nothing_left(net)


def test_failure_comes_with_authentication_failed() -> None:
    net = begun(password="wrong")
    net.east.take()
    while (packet := Packet.parse(net.west.read().require(Eap).data)).code is not EapCode.FAILURE:
        net.west.take()
        net.east.take()
    assert packet.type is None
    assert [notify.type for notify in net.west.read().all(Notify)] == [NotifyType.AUTHENTICATION_FAILED]


@pytest.mark.parametrize("options", [{"user": "carol"}, {"user": "bob", "password": "other", "wanted": "alice"}])
def test_who_is_not_let_in(options: dict[str, str]) -> None:
    net = attempt(warrior(**options))
    assert "the name or the password is wrong" in told(net.west)
    assert_nothing_left(net)


def test_a_gateway_that_does_not_know_the_password_is_found_out() -> None:
    """It says that all is well, whatever the answer, but cannot prove that it knows the password."""
    net = warrior("another")
    honest = Exchange.response
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Exchange, "response", lambda self: honest(replace(self, password=bytes(16))))
        attempt(net)
    assert "does not know our password" in told(net.west)
    assert_nothing_left(net)


def test_loss_and_repetition_over_the_rounds() -> None:
    for seed in range(10):
        net = warrior(loss=0.3, repeat=0.2)
        net.random.seed(seed)
        net.west.up()
        net.run(60)
        net.link.loss = 0
        net.run(120)
        assert is_up(net)


def test_a_request_that_is_repeated_gets_the_same_answer() -> None:
    net = begun()
    request = net.east.inbox[0]
    net.east.take()
    net.east.inbox.append(request)
    net.east.take()
    answer, again = net.west.inbox
    assert answer.data == again.data


def test_eap_where_it_may_not_be() -> None:
    """A gateway that lets nobody in with EAP refuses a request without a proof."""
    net = warrior()
    connection = net.east.conn
    net.east.conn = replace(connection, remote=replace(connection.remote, auth=SIGNATURES))
    net.east.start()
    attempt(net)
    assert "wants to authenticate with EAP" in told(net.east)
    assert_nothing_left(net)


def test_a_response_that_skips_eap_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer goes on with AUTH or the like where EAP is awaited."""
    net = begun()
    net.east.take()
    monkeypatch.setattr("ikeclone.ike.eap_auth.EapRound.request", lambda self, now: (Auth(AuthMethod.NULL, b"x"),))
    net.west.take()
    net.east.take()
    assert net.west.read().notify(NotifyType.INVALID_SYNTAX) is not None
    net.release()
    net.run(1)
    assert_nothing_left(net)


@pytest.mark.parametrize("strict", ["west", "east"])
def test_rounds_have_an_end(strict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that asks for the identity again and again; one of the sides has had enough before the other."""
    asked = Packet(EapCode.REQUEST, 1, EapType.IDENTITY).build()
    monkeypatch.setattr("ikeclone.eap.server.EapServer.receive", lambda self, data: asked)
    start = EapRound.__init__
    if strict == "east":
        monkeypatch.setattr(
            EapRound, "__init__", lambda self, opening, eap, asked, rounds=1: start(self, opening, eap, asked)
        )
    else:
        monkeypatch.setattr(EapResponder, "_respond", lambda self, message, now: (Eap(asked),))
    net = attempt(warrior())
    assert f"{MAX_ROUNDS} rounds" in told(net.west if strict == "west" else net.east)
    assert_nothing_left(net)


def test_users_are_told_apart_by_the_names_that_they_proved() -> None:
    """Two road warriors that call themselves the same have an instance each; one that comes again has its former."""
    host = Host(GATEWAY)
    anyone = replace(WEST_END, address=None, identity=None, auth=EAP)
    net = Network(east={"local": host.local(EAST_END), "remote": anyone})
    passwords = Password("alice", RIGHT), Password("bob", RIGHT)
    net.east.credentials = replace(host.credentials(), passwords=passwords)
    net.east.start()
    sides = []
    for number, user in ((1, "alice"), (2, "bob")):
        subnet = TrafficSelector.of(ip_network(f"192.0.1.{16 * number}/28"))
        end = replace(WEST_END, address=ip_address(f"198.51.100.{number}"), selectors=(subnet,), auth=EAP, user=user)
        side = net.add(str(end.address), connection(end, host.remote(EAST_END)))
        side.credentials = Credentials(store=Store((ROOT.certificate,)), passwords=passwords)
        side.start()
        sides.append(side)
    for side in (*sides, sides[0]):
        side.down()
        net.run(2)
        side.up()
        net.run(2)
    tunnels = [tunnel for name, tunnel in net.east.endpoint.tunnels.items() if name != NAME]
    assert sorted(str(tunnel.peer) for tunnel in tunnels) == ["alice", "bob"]
    assert all(len(side.children) == 1 for side in sides)


def test_a_user_comes_back_with_a_ticket_and_without_a_password() -> None:
    """After EAP the IKE SA can be resumed: two exchanges, and the user is the one who proved it (RFC 5723)."""
    net = warrior()
    impatient = Timing(margin=60, dpd_delay=5, retransmit_timeout=10)
    for side, timing in zip(net.sides, (impatient, Timing(margin=60)), strict=True):
        side.conn = replace(side.conn, resumption=True, timing=timing)
        side.start()
    net.west.up()
    net.run(5)
    before = net.east.ike
    net.west.endpoint.tunnels[NAME].wanted = True
    net.link.cut = True
    net.run_until(lambda: net.west.ike is None)
    net.link.cut = False
    net.west.sent.clear()
    net.run_until(lambda: len(net.west.children) == 1)
    requests = [parse_message(each.data).header for each in net.west.sent]
    asked = dict.fromkeys(header.exchange for header in requests if not header.response)
    assert list(asked)[:2] == [ExchangeType.IKE_SESSION_RESUME, ExchangeType.IKE_AUTH]
    assert [header.message_id for header in requests if header.exchange is ExchangeType.IKE_AUTH] == [1]
    assert net.east.ike is not before
    assert str(net.east.endpoint.tunnels[NAME].peer) == "alice"


@pytest.mark.parametrize("who", ["west", "east"])
def test_a_postquantum_key_that_is_insisted_on_is_not_to_be_had_with_eap(who: str) -> None:
    """RFC 8784 mixes it into the first proof, and with EAP there is none."""
    net = warrior()
    side = getattr(net, who)
    side.conn = replace(side.conn, ppk=Choice.YES)
    for each in net.sides:
        each.credentials = replace(each.credentials, ppks=(Ppk((), b"one", b"1" * 32),))
        each.start()
    attempt(net)
    assert "postquantum preshared key" in told(side)
    assert_nothing_left(net)


def test_an_answer_without_eap_where_eap_goes_on_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    net = begun()
    monkeypatch.setattr(EapResponder, "_respond", lambda self, message, now: ())
    net.east.take()
    net.west.take()
    net.east.take()
    net.west.take()
    assert "0 Eap payloads in IKE_AUTH" in told(net.west)
    net.release()
    assert_nothing_left(net)


def test_a_user_who_gives_up_in_the_middle_leaves_nothing() -> None:
    net = begun()
    net.east.take()
    net.west.take()
    net.west.down()
    assert not net.west.backend.reserved
    net.release()
    assert_nothing_left(net)


def test_a_password_that_is_missing_is_said_before_anything_is_sent() -> None:
    net = warrior()
    net.west.credentials = replace(net.west.credentials, passwords=())
    net.west.start()
    with pytest.raises(LocalError, match="no password of alice: add 'alice : EAP"):
        net.west.up()
    assert net.seen == []


def test_a_user_is_sent_to_another_gateway_once_he_has_proved_who_he_is() -> None:
    """The first gateway makes no Child SA for him, and forgets the IKE SA (RFC 5685 section 6)."""
    net = warrior()
    net.west.conn = replace(net.west.conn, redirection=Redirection(accept=True))
    net.west.start()
    south = ip_address("192.1.2.66")
    tunnel = net.east.endpoint.tunnels[NAME]
    tunnel.connection = replace(tunnel.connection, redirection=Redirection(send=Choice.YES, to=(south,)))
    attempt(net)
    assert net.west.endpoint.tunnels[NAME].redirects.gateway == south
    assert {sent.path.remote for sent in net.west.sent if sent.data[18] == ExchangeType.IKE_SA_INIT} == {EAST, south}
    assert (living(net.east), net.east.children) == ([], [])
    assert not net.east.kinds(Kind.CHILD_UP, Kind.FAILED)


def test_the_proof_after_eap_is_one_by_shared_key() -> None:
    """The right octets under the name of another method are none (RFC 7296 section 2.16)."""
    net = warrior()
    prove = EapKey.prove
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EapKey, "prove", lambda *arguments: replace(prove(*arguments), method=AuthMethod.NULL))
        attempt(net)
    assert "the peer's proof is wrong: it is not made with the key of EAP" in told(net.east)
    assert_nothing_left(net)
