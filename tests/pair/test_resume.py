"""Resuming an IKE SA that was lost, with a ticket of the gateway's. West is the client."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.connection import Identity, Timing
from ikeclone.crypto.keys import resumed_ike_keys
from ikeclone.crypto.prf import prf, prf_plus
from ikeclone.crypto.registry import parse_ike
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.state import State
from ikeclone.ike.tickets import MOST, Session, Tickets
from ikeclone.numbers import ExchangeType, IdType
from ikeclone.wire.message import parse_message
from tests.pair.network import EAST, NAME, Network, Side
from tests.pair.scenario import assert_carries, ike_sa
from tests.pair.test_sharing import living

TIMING = Timing(margin=60, dpd_delay=5, retransmit_timeout=10)
RESUMING = {"resumption": True, "timing": TIMING}


def tunnel_of_two(settings: Settings | None = None, **changes: object) -> Network:
    both = {**RESUMING, **changes}
    return Network(west=both, east={**both, "timing": Timing(margin=60)}, settings=settings)


def lose(net: Network, seconds: float = 25.0) -> None:
    """The way to the gateway is cut until the client gives up, and no longer."""
    net.west.endpoint.tunnels[NAME].wanted = True
    net.link.cut = True
    net.run_until(lambda: net.west.ike is None, limit=seconds)
    net.link.cut = False
    net.west.sent.clear()
    net.east.sent.clear()


def exchanges(side: Side) -> list[str]:
    """The first exchanges that a side has asked for since."""
    headers = [parse_message(each.data).header for each in side.sent]
    asked = dict.fromkeys((h.exchange, h.initiator_spi, h.message_id) for h in headers if not h.response)
    return [exchange.name for exchange, _, _ in asked]


def one_tunnel(net: Network) -> None:
    net.run(100)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    assert [len(side.children) for side in net.sides] == [1, 1]
    net.assert_consistent()
    assert_carries(net)


def test_a_lost_tunnel_comes_back_by_its_ticket() -> None:
    """Two exchanges and no key exchange among them; the gateway, which held the old one for alive, drops it."""
    net = tunnel_of_two().established()
    before = ike_sa(net.east)
    lose(net)
    assert before.state is State.ESTABLISHED
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:2] == ["IKE_SESSION_RESUME", "IKE_AUTH"]
    one_tunnel(net)
    assert ike_sa(net.east) is not before


def test_again_and_again_until_the_first_lifetime_ends() -> None:
    """Each resumption gives another ticket, which lasts no longer than the one before."""
    net = tunnel_of_two(timing=replace(TIMING, ike_lifetime=3600.0)).established()
    first = net.west.endpoint.tunnels[NAME].resumption.session
    assert first is not None
    for _ in range(3):
        lose(net)
        net.run_until(lambda: len(net.west.children) == 1)
        assert exchanges(net.west)[0] == "IKE_SESSION_RESUME"
    last = net.west.endpoint.tunnels[NAME].resumption.session
    assert last is not None
    assert last.ticket != first.ticket
    assert abs(last.expires - first.expires) < 2
    net.east.endpoint.tickets._sessions.clear()
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:3] == ["IKE_SESSION_RESUME", "IKE_SA_INIT", "IKE_AUTH"]
    one_tunnel(net)


def test_a_gateway_that_has_started_anew_knows_no_tickets() -> None:
    net = tunnel_of_two().established()
    lose(net)
    net.east.start()
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:3] == ["IKE_SESSION_RESUME", "IKE_SA_INIT", "IKE_AUTH"]
    assert net.east.endpoint.counters["ike_sa_init refused: ticket_nack"] == 1
    one_tunnel(net)


@pytest.mark.parametrize(("west", "east"), [(True, False), (False, True)])
def test_both_must_want_it(west: bool, east: bool) -> None:
    net = Network(west={**RESUMING, "resumption": west}, east={"resumption": east}).established()
    assert net.west.endpoint.tunnels[NAME].resumption.session is None
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[0] == "IKE_SA_INIT"


@pytest.mark.parametrize("by", ["west", "east"])
def test_an_ike_sa_that_was_taken_down_is_not_resumed(by: str) -> None:
    net = tunnel_of_two().established()
    getattr(net, by).down()
    net.run(20)
    assert net.west.endpoint.tunnels[NAME].resumption.session is None
    assert not net.east.endpoint.tickets._sessions
    net.west.sent.clear()
    net.west.up()
    net.run(2)
    assert exchanges(net.west)[0] == "IKE_SA_INIT"


def test_a_ticket_that_is_too_old() -> None:
    net = tunnel_of_two().established()
    session = net.west.endpoint.tunnels[NAME].resumption.session
    assert session is not None
    tickets = net.east.endpoint.tickets
    known = tickets._sessions[session.ticket]
    tickets._sessions[session.ticket] = replace(known, expires=net.now + 1)
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:2] == ["IKE_SESSION_RESUME", "IKE_SA_INIT"]
    one_tunnel(net)


def test_a_client_without_the_keys_gets_nothing_with_a_ticket() -> None:
    """Somebody has seen the ticket go by: he cannot make the keys of it."""
    net = tunnel_of_two().established()
    west = net.west.endpoint.tunnels[NAME]
    assert west.resumption.session is not None
    west.resumption.session = replace(west.resumption.session, sk_d=bytes(32))
    lose(net)
    net.run(12)
    assert net.east.endpoint.counters["integrity check failed"] > 0
    assert [sa.state for sa in net.east.endpoint.ike_sas()].count(State.ESTABLISHED) == 1
    net.run(30)
    assert len(net.west.children) == 1
    assert "IKE_SA_INIT" in exchanges(net.west)


def test_another_identity_is_refused() -> None:
    net = tunnel_of_two().established()
    session = net.west.endpoint.tunnels[NAME].resumption.session
    assert session is not None
    tickets = net.east.endpoint.tickets
    other = Identity(IdType.FQDN, b"south")
    tickets._sessions[session.ticket] = replace(tickets._sessions[session.ticket], presented=other)
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:3] == ["IKE_SESSION_RESUME", "IKE_AUTH", "IKE_SA_INIT"]
    assert any("AUTHENTICATION_FAILED" in report.text for report in net.west.kinds(Kind.PROGRESS))
    one_tunnel(net)


def test_a_peer_that_is_busy_demands_a_cookie() -> None:
    net = tunnel_of_two(Settings(cookie_threshold=0)).established()
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[0] == "IKE_SESSION_RESUME"
    assert net.east.endpoint.counters["cookie demanded"] == 2
    one_tunnel(net)


def test_reauthentication_proves_anew() -> None:
    net = tunnel_of_two().established()
    net.west.sent.clear()
    net.west.rekey(reauth=True)
    net.run(5)
    assert exchanges(net.west)[:2] == ["IKE_SA_INIT", "IKE_AUTH"]
    one_tunnel(net)


def test_with_additional_key_exchanges_and_clones() -> None:
    """The session is that of all key exchanges; the resumed IKE SA needs none, and its clones come with traffic."""
    net = tunnel_of_two(ike=parse_ike("aes_gcm256-sha2_256-dh31-ke1_ml_kem_768")).established()
    for cpu in (0, 1):
        net.west.packet(cpu)
    net.run(3)
    assert len(net.west.children) == 3
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:2] == ["IKE_SESSION_RESUME", "IKE_AUTH"]
    net.run(60)
    for cpu in (0, 1):
        net.west.packet(cpu)
    net.run(60)
    assert [len(side.children) for side in net.sides] == [3, 3]
    net.west.rekey(ike=True)
    net.run(100)
    net.assert_consistent()
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]


def test_a_gateway_remembers_so_many() -> None:
    numbers = iter(range(10 * MOST))
    tickets = Tickets(lambda size: next(numbers).to_bytes(size, "big"))
    some = ike_sa(Network().established().west).suite

    def session(number: int) -> Session:
        peer = Identity(IdType.FQDN, str(number).encode())
        return Session("net", peer, peer, some, 100.0, EAST, b"secret")

    first, *_, last = [tickets.issue(session(number)) for number in range(MOST + 1)]
    assert tickets.session(first, 0.0) is None
    assert tickets.session(last, 99.0) == replace(session(MOST), ticket=last)
    assert tickets.session(last, 100.0) is None
    again = tickets.issue(session(MOST))
    assert tickets.session(last, 0.0) is None
    assert tickets.session(again, 0.0) is not None
    assert "secret" not in repr(tickets.session(again, 0.0))


def test_the_keys() -> None:
    """SKEYSEED = prf(SK_d, "Resumption" | Ni | Nr), and the rest as ever (RFC 5723 section 5.1)."""
    suite = ike_sa(Network().established().west).suite
    keys = resumed_ike_keys(suite, b"d" * 32, b"i" * 32, b"r" * 32, b"I" * 8, b"R" * 8)
    seed = prf(suite.prf, b"d" * 32, b"Resumption" + b"i" * 32 + b"r" * 32)
    assert keys.sk_d == prf_plus(suite.prf, seed, b"i" * 32 + b"r" * 32 + b"I" * 8 + b"R" * 8, 32)


@pytest.mark.parametrize("seed", range(6))
def test_over_a_bad_network(seed: int) -> None:
    net = Network(west={**RESUMING, "timing": replace(TIMING, retransmit_timeout=60)}, east=RESUMING, seed=seed)
    net.established()
    lose(net, 200)
    net.link.loss, net.link.repeat, net.link.jitter = 0.3, 0.2, 0.1
    net.run(200)
    net.link.loss = net.link.repeat = net.link.jitter = 0.0
    net.run(300)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    net.assert_consistent()
    assert ExchangeType.IKE_SESSION_RESUME.name in exchanges(net.west)
