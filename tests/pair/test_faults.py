"""What goes wrong on the way between two peers, and with messages that are not what they should be."""

from __future__ import annotations

from random import Random

import pytest

from ikeclone.backend import Path
from ikeclone.connection import Auto, Timing
from ikeclone.ike import crossing
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.init import Initiation
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Header, build_message, parse_message
from ikeclone.wire.payloads import EncryptedFragment, Notify
from tests.pair.network import EAST, NAME, WEST, Network

TO_EAST = Path(EAST, WEST)


def test_a_dead_peer_is_noticed_and_the_tunnel_comes_back() -> None:
    timing = Timing(dpd_delay=5, retransmit_timeout=10)
    net = Network(west={"timing": timing}).established()
    net.link.cut = True
    net.run(40)
    assert "no response to INFORMATIONAL" in net.west.kinds(Kind.IKE_DOWN)[-1].text
    assert net.west.backend.installed == {}
    net.link.cut = False
    net.run_until(lambda: bool(net.west.children))
    net.run(2)
    net.assert_consistent()


def test_liveness_costs_nothing_while_the_peer_talks() -> None:
    net = Network(west={"timing": Timing(dpd_delay=5)}).established()
    net.run(60)
    assert net.west.ike is not None
    requests = [s for s in net.west.sent if parse_message(s.data).header.exchange is ExchangeType.INFORMATIONAL]
    assert 10 <= len(requests) <= 12


def test_a_restarted_peer_replaces_its_old_sas() -> None:
    net = Network().established()
    net.west.start()
    net.west.up()
    net.run(60)
    net.assert_consistent()
    assert len(list(net.east.endpoint.ike_sas())) == 1
    assert any("the peer has started anew with" in report.text for report in net.east.reports)


def test_responses_are_repeated_octet_for_octet() -> None:
    net = Network()
    drops = iter([False, True, False, False, False, True] + [False] * 20)
    net.link.drop = lambda data: next(drops)
    net.west.up()
    net.run(10)
    for side in net.sides:
        assert len(side.children) == 1
    responses = [s.data for s in net.east.sent if parse_message(s.data).header.exchange is ExchangeType.IKE_AUTH]
    assert len(responses) == 2
    assert len(set(responses)) == 1


@pytest.mark.parametrize("seed", range(40))
def test_a_lossy_network_only_delays(seed: int) -> None:
    net = Network(seed=seed)
    net.link.loss, net.link.repeat, net.link.jitter = 0.35, 0.2, 0.2
    net.west.up()
    net.run_until(lambda: all(side.children for side in net.sides), limit=120)
    net.link.loss = 0.0
    net.run(60)
    net.assert_consistent()


def is_fragment(datagram: bytes) -> bool:
    return isinstance(parse_message(datagram).payloads[-1], EncryptedFragment)


def test_fragments_are_put_together_whatever_their_order() -> None:
    net = Network(settings=Settings(fragment_size=150))
    net.link.jitter = 0.05
    net.established()
    net.assert_consistent()
    assert sum(is_fragment(s.data) for s in net.seen) > 4


def test_a_peer_without_fragmentation_gets_none() -> None:
    net = Network(settings=Settings(fragment_size=150), east={"fragmentation": False}).established()
    assert not any(is_fragment(s.data) for s in net.seen)


def embryo(net: Network) -> IkeSa:
    """The east's half-open IKE SA."""
    net.west.up()
    net.run(0.015)
    (sa,) = net.east.endpoint.ike_sas()
    return sa


def test_half_open_sas_are_forgotten() -> None:
    net = Network()
    sa = embryo(net)
    net.link.cut = True
    net.run(31)
    assert sa.state is State.DEAD
    assert not list(net.east.endpoint.ike_sas())


@pytest.mark.parametrize("exchange", [ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL])
def test_nothing_but_ike_auth_before_authentication(exchange: ExchangeType) -> None:
    """A peer that knows the keys but did not authenticate gets nowhere."""
    net = Network()
    sa = embryo(net)
    net.run(0.006)
    (mine,) = net.west.endpoint.ike_sas()
    header = Header(mine.spi_i, mine.spi_r, exchange, 1, True, False)
    (datagram,) = mine.channel._protection.seal(header, (Notify(NotifyType.INITIAL_CONTACT),), None)
    net.east.endpoint.receive(datagram, TO_EAST, net.now)
    assert sa.state is State.DEAD
    assert net.east.backend.installed == {}


def test_forged_and_unprotected_messages_change_nothing() -> None:
    net = Network().established()
    ike = net.west.ike
    assert ike is not None
    header = Header(ike.spi_i, ike.spi_r, ExchangeType.INFORMATIONAL, 2, True, False)
    plain = build_message(header, (Notify(NotifyType.AUTHENTICATION_FAILED),))
    (sealed,) = ike.channel._protection.seal(header, (), None)
    forged = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for datagram in (plain, forged):
        net.east.endpoint.receive(datagram, TO_EAST, net.now)
        net.settle(net.east)
    counters = net.east.endpoint.counters
    assert (counters["unprotected message"], counters["integrity check failed"]) == (1, 1)
    net.run(5)
    net.assert_consistent()
    net.west.rekey()
    net.run(5)
    net.assert_consistent()


def test_noise_is_counted_and_survived() -> None:
    net = Network().established()
    noise = Random(1)
    before = net.seen[0].data
    for _ in range(2000):
        data = bytearray(before if noise.random() < 0.5 else noise.randbytes(noise.randrange(400)))
        for _ in range(noise.randrange(1, 8)):
            if data:
                data[noise.randrange(len(data))] = noise.randrange(256)
        net.east.endpoint.receive(bytes(data), TO_EAST, net.now)
        net.settle(net.east)
    assert sum(net.east.endpoint.counters.values()) > 0
    net.run(100)
    net.assert_consistent()


def test_half_open_sas_are_bounded() -> None:
    net = Network(settings=Settings(cookie_threshold=1000, half_open_limit=50))
    for port in range(1000, 1200):
        Initiation(net.west.endpoint.tunnels[NAME], Path(WEST, EAST, port), net.now)
    for datagram in net.west.endpoint.datagrams():
        net.east.endpoint.receive(datagram.data, Path(EAST, WEST, 500, datagram.path.local_port), net.now)
    assert len(list(net.east.endpoint.ike_sas())) == 50
    assert net.east.endpoint.counters["too many half-open ike sas"] == 150


def test_a_request_that_overtakes_the_ike_auth_response_is_left_until_it_is_repeated() -> None:
    net = Network().hold()
    west, east = net.sides
    west.up()
    for side in (east, west, east):
        side.take()
    (first,) = east.children
    east.rekey()
    west.take(1)
    assert west.endpoint.counters["request before authentication"] == 1
    assert not east.inbox
    net.release()
    net.run(5)
    assert len(east.children) == 1
    assert first not in east.children
    net.assert_consistent()


def test_one_of_two_simultaneous_ike_sas_is_ended_by_the_peer_that_we_would_have_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crossing, "holds_back", lambda sa: False)  # as peers do that know nothing of it
    net = Network().hold()
    west, east = net.sides
    west.up()
    east.up()
    while len(west.children) < 2:
        net.run(0.01)
        for side in net.sides:
            if side.inbox:
                side.take()
    kept = west.ike
    assert kept is not None
    assert len(list(west.endpoint.ike_sas())) == 2
    kept.close(net.now, "for the test")
    net.settle(west)
    other = west.ike
    assert other is not None
    assert (other.state, len(west.children)) == (State.ESTABLISHED, 1)


def test_a_peer_that_starts_anew_while_both_rekey_leaves_nothing_behind() -> None:
    net = Network().established().hold()
    west, east = net.sides
    west.rekey(ike=True)
    east.rekey(ike=True)
    east.take()
    west.inbox.clear()
    west.start()
    west.up()
    net.release()
    net.run(200)
    assert len(list(east.endpoint.ike_sas())) == 1
    net.assert_consistent()


def test_auto_start_keeps_trying() -> None:
    net = Network(west={"auto": Auto.START, "timing": Timing(retransmit_timeout=10)})
    net.link.cut = True
    net.run(100)
    assert len(net.west.kinds(Kind.FAILED)) >= 3
    net.link.cut = False
    net.run_until(lambda: bool(net.west.children), limit=400)


def test_an_initiation_is_given_up_at_the_timeout_not_at_the_pause_after_it() -> None:
    net = Network(west={"timing": Timing(retransmit_timeout=60)})
    net.link.cut = True
    begun = net.now
    net.west.up()
    net.run_until(lambda: bool(net.west.kinds(Kind.FAILED)))
    assert net.now == begun + 60


def test_a_peer_is_given_up_at_the_timeout_not_at_the_pause_after_it() -> None:
    net = Network(west={"timing": Timing(retransmit_timeout=60)}).established()
    net.link.cut = True
    begun = net.now
    net.west.rekey(ike=True)
    net.run_until(lambda: net.west.ike is None)
    assert net.now == begun + 60
