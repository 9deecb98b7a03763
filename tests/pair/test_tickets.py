"""The life of a ticket for resumption: when it is had, renewed, used up and refused (RFC 5723). West is the client."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.connection import Timing
from ikeclone.errors import AuthenticationFailed, InvalidSyntax
from ikeclone.ike import tickets
from ikeclone.ike.actions import Kind
from ikeclone.ike.authentication import Covered, Resumed
from ikeclone.ike.rekey_ike import RekeyIke
from ikeclone.ike.resume import MOST_TRIES, SLACK, Client, TicketRequest
from ikeclone.ike.state import State
from ikeclone.ike.tickets import Session
from ikeclone.numbers import AuthMethod, ExchangeType, NotifyType, Prf
from ikeclone.wire.message import Header, Message, build_message, parse_message
from ikeclone.wire.payloads import Auth, Nonce, Notify
from tests.pair.network import NAME, Network, Side
from tests.pair.scenario import by_hand, ike_sa, notifies
from tests.pair.test_resume import exchanges, lose, one_tunnel, tunnel_of_two
from tests.pair.test_sharing import living

REQUEST = Notify(NotifyType.TICKET_REQUEST)


def client(net: Network) -> Client:
    return net.west.endpoint.tunnels[NAME].resumption


def session(net: Network) -> Session:
    kept = client(net).session
    assert kept is not None
    return kept


def resume(net: Network) -> None:
    """The tunnel is lost and comes back, by its ticket."""
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:2] == ["IKE_SESSION_RESUME", "IKE_AUTH"]


@pytest.mark.parametrize("by", ["west", "east"])
def test_a_rekeyed_ike_sa_has_another(by: str) -> None:
    """The former one is good no more (section 6.2); the client asks for one of the new IKE SA, whoever rekeyed."""
    net = tunnel_of_two().established()
    former = session(net)
    getattr(net, by).rekey(ike=True)
    net.run(3)
    assert session(net).ticket != former.ticket
    assert session(net).sk_d == ike_sa(net.west).keys.sk_d == ike_sa(net.east).keys.sk_d
    assert net.east.endpoint.tickets.session(former.ticket, net.now) is None
    resume(net)
    one_tunnel(net)


def test_who_asks_while_rekeying_may_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may ask in CREATE_CHILD_SA, too: it is put off until the new IKE SA is there (section 4.1)."""
    net = by_hand(resumption=True)
    plain = RekeyIke.request
    monkeypatch.setattr(RekeyIke, "request", lambda self, now: (*(plain(self, now) or ()), REQUEST))
    net.west.rekey(ike=True)
    net.east.take()
    assert NotifyType.TICKET_ACK in notifies(net.west)
    assert NotifyType.TICKET_REQUEST not in notifies(net.west)


def test_a_promised_ticket_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that cannot give it in IKE_AUTH says TICKET_ACK."""
    with monkeypatch.context() as patch:
        patch.setattr(tickets, "give", lambda *arguments: (Notify(NotifyType.TICKET_ACK),))
        net = tunnel_of_two()
        net.west.up()
        net.run(0.045)
        assert len(net.west.children) == 1
        assert client(net).session is None
    net.run(1)
    resume(net)
    one_tunnel(net)


def test_who_is_put_off_again_gives_up() -> None:
    net = by_hand(resumption=True)
    client(net).session = None
    request, header = (
        TicketRequest(ike_sa(net.west)),
        Header(b"i" * 8, b"r" * 8, ExchangeType.INFORMATIONAL, 5, False, True),
    )
    request.response(Message(header, (Notify(NotifyType.TICKET_ACK),)), net.now)
    request.failed(AuthenticationFailed("no"), net.now)
    net.west.network.settle(net.west)
    assert client(net).session is None
    assert not net.east.inbox


@pytest.mark.parametrize("data", [b"\0\0\0\x09", b"\0\0\0\x09" + bytes(8193)])
def test_what_is_no_ticket_is_not_kept(data: bytes) -> None:
    net = by_hand(resumption=True)
    client(net).session = None
    header = Header(b"i" * 8, b"r" * 8, ExchangeType.IKE_AUTH, 1, False, True)
    client(net).keep(ike_sa(net.west), Message(header, (Notify(NotifyType.TICKET_LT_OPAQUE, data),)), net.now)
    assert client(net).session is None


def test_another_ticket_of_the_same_ike_sa_lasts_no_longer() -> None:
    net = tunnel_of_two().established()
    first = session(net)
    resume(net)
    sa = ike_sa(net.west)
    sa.enqueue(TicketRequest(sa), net.now)
    net.west.network.settle(net.west)
    net.run(1)
    assert session(net).ticket != first.ticket
    assert abs(session(net).expires - first.expires) < 2


def asked(net: Network) -> int:
    """How often the client has asked for a ticket on an IKE SA that was there."""
    return exchanges(net.west).count("INFORMATIONAL")


@pytest.mark.parametrize(("lifetime", "least", "most"), [(600, 6, 8), (30, 59, 61)])
def test_before_it_expires_another_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, lifetime: int, least: int, most: int
) -> None:
    """When there are 10 to 20 % of its lifetime left (section 4.1), though not more than once a minute."""
    plain = tickets.give
    monkeypatch.setattr(tickets, "give", lambda sa, request, bound, now: plain(sa, request, now + lifetime, now))
    net = tunnel_of_two(timing=Timing(margin=60)).established()
    net.west.sent.clear()
    net.run(3600)
    assert least <= asked(net) <= most
    assert session(net).expires > net.now or lifetime < SLACK


def test_a_gateway_whose_tickets_do_not_get_younger_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, net = tickets.give, tunnel_of_two(timing=Timing(margin=60))
    end = net.now + 600
    monkeypatch.setattr(tickets, "give", lambda sa, request, bound, now: plain(sa, request, end, now))
    net.established()
    net.west.sent.clear()
    net.run(3600)
    assert asked(net) == 1


def test_a_ticket_that_lasts_as_long_as_the_ike_sa_needs_no_other() -> None:
    """The next one is that of the next IKE SA."""
    both = {"resumption": True, "timing": Timing(margin=60, ike_lifetime=3600)}
    net = Network(west=both, east=both).established()
    net.west.sent.clear()
    net.run(3440)
    assert asked(net) == 0
    assert 0 < session(net).expires - net.now <= 160


@pytest.mark.parametrize("wanted", [True, False])
def test_the_gateway_itself_gets_none(wanted: bool) -> None:
    """Who was asked for the IKE SA has not said to whom a ticket would be given."""
    net = by_hand(resumption=wanted)
    sa = ike_sa(net.east)
    sa.enqueue(TicketRequest(sa), net.now)
    net.east.network.settle(net.east)
    net.west.take()
    assert notifies(net.east) == ({NotifyType.TICKET_NACK} if wanted else set())
    net.east.take()
    assert net.east.endpoint.tunnels[NAME].resumption.session is None


def test_no_ticket_for_an_ike_sa_that_goes() -> None:
    net = by_hand(resumption=True)
    sa = ike_sa(net.west)
    sa.enqueue(TicketRequest(sa), net.now)
    net.west.network.settle(net.west)
    ike_sa(net.east).retire(net.now)
    net.east.take()
    assert NotifyType.TICKET_NACK in notifies(net.west)


def test_a_used_ticket_is_refused() -> None:
    net = tunnel_of_two().established()
    used = session(net)
    resume(net)
    net.run(60)
    client(net).session = used
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:2] == ["IKE_SESSION_RESUME", "IKE_SA_INIT"]
    one_tunnel(net)


@pytest.mark.parametrize("forged", [bytes(32), b"", b"A" * 8000], ids=len)
def test_a_forged_ticket_is_refused(forged: bytes) -> None:
    """It is a number that the gateway has drawn, and stands for nothing if changed."""
    net = tunnel_of_two().established()
    client(net).session = replace(session(net), ticket=forged)
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:2] == ["IKE_SESSION_RESUME", "IKE_SA_INIT"]
    assert net.east.endpoint.counters["ike_sa_init refused: ticket_nack"] == 1
    one_tunnel(net)


def test_of_two_who_present_a_ticket_one_resumes() -> None:
    """It is used when an IKE SA is established with it (section 4.3.1), here by another before IKE_AUTH comes."""
    net = tunnel_of_two().established()
    store = net.east.endpoint.tickets
    kept = store.session(session(net).ticket, net.now)
    assert kept is not None
    lose(net)
    net.run_until(lambda: State.HALF_OPEN in living(net.east))
    store.redeem(kept)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:3] == ["IKE_SESSION_RESUME", "IKE_AUTH", "IKE_SA_INIT"]
    assert any("was used before" in report.text for report in net.east.kinds(Kind.PROGRESS))
    one_tunnel(net)


@pytest.mark.parametrize("says_so", [True, False], ids=["INITIAL_CONTACT", "without"])
def test_the_former_ike_sa_goes_without_a_word(monkeypatch: pytest.MonkeyPatch, says_so: bool) -> None:
    """Section 4.3.4: there is nobody who could answer a DELETE."""
    net = tunnel_of_two().established()
    monkeypatch.setattr("ikeclone.ike.auth.is_initial", lambda sa, proofs: says_so)
    resume(net)
    net.run(120)
    assert not [each for each in net.east.sent if not parse_message(each.data).header.response]
    assert living(net.east) == [State.ESTABLISHED]


def test_an_outage_does_not_use_it_up() -> None:
    """Nobody answers for longer than a request is repeated; when the network is back, the ticket is still good."""
    net = tunnel_of_two().established()
    ticket = session(net).ticket
    lose(net)
    net.link.cut = True
    net.run_until(lambda: session(net).unanswered == 1)
    net.link.cut = False
    net.run_until(lambda: len(net.west.children) == 1)
    assert "IKE_SA_INIT" not in exchanges(net.west)
    assert session(net).ticket != ticket
    one_tunnel(net)


def test_taken_down_while_it_is_resumed() -> None:
    net = tunnel_of_two().established()
    lose(net)
    net.link.cut = True
    net.run_until(lambda: exchanges(net.west) == ["IKE_SESSION_RESUME"])
    net.west.down()
    assert client(net).session is None
    assert net.west.endpoint.tunnels[NAME].approach.initiation is None


def test_a_gateway_that_is_deaf_to_tickets() -> None:
    """One in its place does not know the exchange: after so many tries IKE_SA_INIT is asked."""
    net = tunnel_of_two().established()
    net.link.drop = lambda data: parse_message(data).header.exchange is ExchangeType.IKE_SESSION_RESUME
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[: MOST_TRIES + 1] == ["IKE_SESSION_RESUME"] * MOST_TRIES + ["IKE_SA_INIT"]
    one_tunnel(net)


def answer(net: Network, responder_spi: bytes, *payloads: Nonce | Notify) -> None:
    """A response to IKE_SESSION_RESUME, which anybody who has seen the request can send."""
    request = parse_message(net.east.inbox.popleft().data).header
    header = Header(request.initiator_spi, responder_spi, ExchangeType.IKE_SESSION_RESUME, 0, False, True)
    initiation = net.west.endpoint.tunnels[NAME].approach.initiation
    assert initiation is not None
    net.west.endpoint.receive(build_message(header, payloads), initiation.path, net.now)
    net.settle(net.west)


@pytest.mark.parametrize(
    ("spi", "payloads"),
    [
        (bytes(8), (Nonce(bytes(32)),)),
        (b"r" * 8, ()),
        (b"r" * 8, (Notify(NotifyType.INVALID_SYNTAX),)),
    ],
    ids=["no SPI", "no nonce", "an error"],
)
def test_an_answer_that_resumes_nothing(spi: bytes, payloads: tuple[Nonce | Notify, ...]) -> None:
    """Whatever the gateway does not like: the client starts from the beginning at once."""
    net = tunnel_of_two().established()
    lose(net)
    net.hold().run_until(lambda: bool(net.east.inbox))
    answer(net, spi, *payloads)
    assert client(net).session is None
    assert exchanges(net.west)[-1] == "IKE_SA_INIT"
    net.release()
    net.run_until(lambda: len(net.west.children) == 1)
    one_tunnel(net)


def test_a_redirection_without_our_nonce_is_not_followed() -> None:
    net = tunnel_of_two().established()
    lose(net)
    net.hold().run_until(lambda: bool(net.east.inbox))
    net.east.inbox.append(net.east.inbox[0])
    there = Notify(NotifyType.REDIRECT, bytes([1, 4, 198, 51, 100, 7]) + bytes(32))
    tunnel = net.west.endpoint.tunnels[NAME]
    tunnel.connection = replace(tunnel.connection, redirection=replace(tunnel.connection.redirection, accept=True))
    answer(net, bytes(8), there)
    assert net.west.endpoint.counters["redirect without our nonce"] == 1
    net.release()
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:2] == ["IKE_SESSION_RESUME", "IKE_AUTH"]


def test_only_a_refused_proof_changes_it() -> None:
    kept = Client(Network().west.endpoint.tunnels[NAME])
    kept.refused(InvalidSyntax("no"))
    assert not kept.short
    kept.refused(AuthenticationFailed("no"))
    assert kept.short


COVERED = Covered(Prf.HMAC_SHA2_256, b"message", b"nonce", b"k" * 32, b"identity")


@pytest.mark.parametrize("short", [True, False])
def test_either_proof_is_taken_and_answered_in_kind(short: bool) -> None:
    theirs, ours = Resumed(short), Resumed(not short)
    ours.check(theirs.prove(COVERED, None), COVERED)
    assert ours.short is short
    assert Resumed(True).prove(COVERED, None) != Resumed(False).prove(COVERED, None)
    with pytest.raises(AuthenticationFailed, match="does not have the keys"):
        ours.check(Auth(AuthMethod.SHARED_KEY, bytes(32)), COVERED)


def short_only(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """That side is of those who take the message for all that AUTH covers."""
    plain, peer = Resumed.check, side.network.peer(side)

    def check(self: Resumed, proof: Auth, covered: Covered) -> None:
        plain(self, proof, covered)
        if covered.message == peer.sent[0].data and not self.short:
            raise AuthenticationFailed("it covers more than the message")

    monkeypatch.setattr(Resumed, "check", check)


def test_a_gateway_that_wants_the_other_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time it refuses ours; after that it gets what it wants."""
    net = tunnel_of_two().established()
    short_only(net.east, monkeypatch)
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:3] == ["IKE_SESSION_RESUME", "IKE_AUTH", "IKE_SA_INIT"]
    net.run(60)
    for _ in range(2):
        resume(net)
        net.run(60)
    one_tunnel(net)
