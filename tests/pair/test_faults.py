"""What goes wrong between two peers: a clear word at the side that can mend it, and nothing left over."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from random import Random

import pytest

from ikeclone.backend import Expire, Lost, Path
from ikeclone.connection import Auto, Identity, Secret, Timing
from ikeclone.credentials import Credentials
from ikeclone.crypto.registry import parse_esp, parse_ike
from ikeclone.errors import LocalError
from ikeclone.ike import crossing
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.init import Initiation
from ikeclone.ike.requests import Requests
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.selectors import TrafficSelector
from ikeclone.wire.message import Header, build_message, parse_message
from ikeclone.wire.payloads import EncryptedFragment, Notify
from tests.pair.network import EAST, NAME, SECRET, WEST, WEST_END, Network, Side
from tests.pair.scenario import assert_one_tunnel, by_hand, delete, only_child

NORTH = TrafficSelector.of(ip_network("192.0.3.0/24"))
TO_EAST = Path(EAST, WEST)


@pytest.fixture
def no_bug() -> None:
    """Bugs are what some of these are about."""


def failure(side: Side) -> str:
    """The last thing that a side reports as failed."""
    return side.kinds(Kind.FAILED)[-1].text


def assert_nothing_left(net: Network) -> None:
    """Neither data plane nor endpoint holds anything of a failed attempt, once it is over."""
    net.run(200)
    for side in net.sides:
        assert side.backend.installed == {}
        assert side.backend.reserved == set()
        assert side.backend.policies == {}
        assert not list(side.endpoint.ike_sas())
        assert side.endpoint.host.timers.owners() == ()


def test_wrong_psk_is_named_on_both_sides() -> None:
    net = Network()
    net.east.credentials = Credentials((replace(SECRET, key=b"another"),))
    net.east.start()
    net.west.up()
    net.run(1)
    assert "AUTHENTICATION_FAILED" in failure(net.west)
    assert any("same preshared key" in report.text for report in net.east.reports)
    assert_nothing_left(net)


def test_initiator_that_doubts_the_responder_tells_it() -> None:
    net = Network(west={"remote": replace(Network().west.conn.remote, identity=Identity.parse("@other"))})
    net.west.credentials = Credentials((Secret((), SECRET.key),))
    net.east.credentials = Credentials((Secret((), SECRET.key),))
    for side in net.sides:
        side.start()
    net.west.up()
    net.run(1)
    assert failure(net.west)
    assert_nothing_left(net)


def test_missing_secret_is_said_before_anything_is_sent() -> None:
    net = Network()
    net.west.credentials = Credentials(())
    net.west.start()
    with pytest.raises(LocalError, match="no preshared key for @west and @east"):
        net.west.up()
    assert net.seen == []


def test_missing_secret_of_the_responder() -> None:
    net = Network()
    net.east.credentials = Credentials((Secret((Identity.parse("@north"),), b"key"),))
    net.east.start()
    net.west.up()
    net.run(1)
    assert "AUTHENTICATION_FAILED" in failure(net.west)
    assert any("no preshared key for @east and @west" in report.text for report in net.east.reports)
    assert_nothing_left(net)


@pytest.mark.parametrize("start", [False, True])
def test_a_missing_secret_is_said_to_those_who_do_not_ask(start: bool) -> None:
    """A connection that starts by itself, and one that a packet wants up: the log has it, and the rest goes on."""
    net = Network(west={"auto": Auto.START if start else Auto.ONDEMAND})
    net.west.credentials = Credentials(())
    net.west.reports.clear()
    net.west.start()
    if not start:
        net.west.packet(0)
    assert "no preshared key for @west and @east" in failure(net.west)
    assert net.west.backend.installed == {}


def test_a_packet_of_a_connection_that_is_gone_is_nobodys() -> None:
    net = Network()
    net.west.endpoint.acquire("removed", 0, net.now)
    net.settle(net.west)
    assert (net.west.reports, net.west.sent) == ([], [])


def test_a_packet_that_has_waited_for_the_fallback_asks_for_nothing_more() -> None:
    """Its acquire names no CPU, as where the kernel has no states for each, and the fallback is there by then."""
    net = by_hand()
    net.west.endpoint.acquire(NAME, None, net.now)
    net.settle(net.west)
    assert not net.east.inbox


def test_there_is_nothing_to_rekey_before_it_is_up() -> None:
    with pytest.raises(LocalError, match=f"{NAME} is not up"):
        Network().west.rekey()


def test_no_common_ike_proposal() -> None:
    net = Network(east={"ike": parse_ike("aes256-sha2_256-dh14")})
    net.west.up()
    net.run(1)
    assert "NO_PROPOSAL_CHOSEN" in failure(net.west)
    assert any("no connection takes one of the IKE proposals" in report.text for report in net.east.reports)
    assert_nothing_left(net)


def test_no_common_esp_proposal() -> None:
    net = Network(east={"esp": parse_esp("aes256-sha2_256")})
    net.west.up()
    net.run(1)
    assert "NO_PROPOSAL_CHOSEN" in failure(net.west)
    assert_nothing_left(net)


def test_unacceptable_selectors() -> None:
    net = Network(west={"local": replace(WEST_END, selectors=(NORTH,))})
    net.west.up()
    net.run(1)
    assert "TS_UNACCEPTABLE" in failure(net.west)
    assert_nothing_left(net)


def test_an_unknown_peer_is_refused() -> None:
    net = Network(west={"local": replace(WEST_END, identity=Identity.parse("@stranger"))})
    net.west.credentials = Credentials((Secret((), SECRET.key),))
    net.west.start()
    net.west.up()
    net.run(1)
    assert "AUTHENTICATION_FAILED" in failure(net.west)
    assert any("no connection from @stranger" in report.text for report in net.east.reports)
    assert_nothing_left(net)


def test_a_peer_that_never_answers() -> None:
    net = Network(west={"timing": Timing(retransmit_first=0.5, retransmit_timeout=10)})
    net.link.cut = True
    net.west.up()
    net.run(30)
    assert "no response from 192.1.2.23 to IKE_SA_INIT" in failure(net.west)
    times = [sent.data for sent in net.west.sent]
    assert len(times) == 5  # after 0, 0.5, 1.5, 3.5 and 7.5 seconds
    assert len(set(times)) == 1


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


def explode(*_: object) -> None:
    raise ZeroDivisionError


def test_a_bug_in_one_ike_sa_ends_only_that_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network().established()
    ike = net.east.ike
    assert ike is not None

    monkeypatch.setattr(ike.incoming, "_handle", explode)
    net.west.rekey()
    net.run(1)
    assert "internal error" in caplog.text
    assert ike.state is State.DEAD
    net.west.start()
    net.west.up()
    net.run(5)
    net.assert_consistent()


def test_a_bug_in_a_timer_ends_only_its_ike_sa(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network(west={"timing": Timing(dpd_delay=5)}).established()
    ike = net.west.ike
    assert ike is not None

    monkeypatch.setattr(ike, "enqueue", explode)
    net.run(30)
    assert "internal error" in caplog.text
    assert ike.state is State.DEAD
    assert [len(side.children) for side in net.sides] == [1, 1]
    net.assert_consistent()


def test_a_bug_in_what_a_stranger_asks_for_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network()
    monkeypatch.setattr("ikeclone.ike.reception.respond_init", explode)
    net.west.up()
    net.run(1)
    assert "first request from 192.1.2.45: internal error" in caplog.text
    assert net.east.endpoint.counters["internal error"] == 2
    assert not list(net.east.endpoint.ike_sas())
    monkeypatch.undo()
    net.run(5)
    net.assert_consistent()
    assert net.west.children


@pytest.mark.parametrize("where", ["ikeclone.ike.init.Initiation.take", "ikeclone.ike.approach.Authenticate"])
def test_a_bug_while_asking_ends_the_attempt(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before there is an IKE SA, and when it has just been made."""
    net = Network()
    monkeypatch.setattr(where, explode)
    net.west.up()
    net.run(1)
    assert "internal error" in caplog.text
    assert "internal error" in failure(net.west)
    assert_nothing_left(net)


def test_a_bug_after_the_end_of_an_ike_sa(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It has answered the peer's delete, and lingers to repeat that."""
    net = Network().established().hold()
    ike = net.east.ike
    assert ike is not None
    net.west.down()
    monkeypatch.setattr(ike.requests, "pump", explode)
    net.east.take()
    assert "internal error" in caplog.text
    assert ike.state is State.DEAD
    net.release()
    assert_nothing_left(net)


def test_a_bug_in_a_timer_of_a_connection_leaves_its_ike_sa(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network().established()
    tunnel = net.west.endpoint.tunnels[NAME]
    monkeypatch.setattr(tunnel.openings, "open_fallback", explode)
    tunnel.openings.replace_fallback(net.now, 1.0)
    net.run(5)
    assert "timer of Tunnel: internal error" in caplog.text
    assert [len(side.children) for side in net.sides] == [1, 1]
    net.assert_consistent()


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


def test_down_of_a_connection_that_starts_by_itself_lasts_until_it_is_brought_up() -> None:
    net = Network(west={"auto": Auto.START, "timing": Timing(retransmit_timeout=10)})
    net.run(1)
    net.west.down()
    net.run(600)
    assert [side.children for side in net.sides] == [[], []]
    net.link.cut = True
    net.west.up()
    net.run(100)
    net.link.cut = False
    net.run_until(lambda: bool(net.west.children), limit=400)


def test_down_twice_while_a_request_is_under_way_is_down() -> None:
    net = Network(west={"timing": Timing(dpd_delay=5)}).established()
    net.west.rekey()
    net.west.down()
    net.west.down()
    net.run(120)
    for side in net.sides:
        assert (side.children, list(side.endpoint.ike_sas())) == ([], [])


def test_down_again_while_the_delete_awaits_its_answer_says_no_more() -> None:
    net = Network().established().hold()
    net.west.down()
    net.west.down()
    assert len(net.east.inbox) == 1
    net.release()
    net.run(120)
    assert_nothing_left(net)


@pytest.mark.parametrize("lifetime", ["ike_lifetime", "child_lifetime"])
def test_a_lifetime_that_ends_while_the_delete_awaits_its_answer_changes_nothing(lifetime: str) -> None:
    timing = replace(Timing(retransmit_timeout=60), **{lifetime: 100})
    net = Network(west={"timing": timing, "rekey": False}, east={"timing": timing, "rekey": False}).established()
    net.run(80)
    net.link.cut = True
    net.west.down()
    net.run_until(lambda: net.west.ike is None)
    assert net.now > 1000 + 130
    assert "no response to INFORMATIONAL for 60 seconds" in net.west.kinds(Kind.IKE_DOWN)[-1].text
    assert_nothing_left(net)


def test_down_before_the_peer_has_authenticated_itself() -> None:
    net = Network(east={"timing": Timing(dpd_delay=5, retransmit_timeout=10)}).hold()
    net.west.up()
    net.east.take()
    net.west.take()
    net.west.down()
    assert net.west.kinds(Kind.FAILED)[-1].text == "taken down"
    assert not list(net.west.endpoint.ike_sas())
    net.release()
    assert_nothing_left(net)


def test_up_right_after_down_is_up() -> None:
    net = Network().established()
    net.west.down()
    net.west.up()
    net.run(60)
    assert [len(side.children) for side in net.sides] == [1, 1]
    net.assert_consistent()


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


def test_a_lost_fallback_is_made_anew() -> None:
    net = Network().established()
    net.west.packet(0)
    net.run(2)
    fallback = net.west.children[0]
    net.west.endpoint.lost(Lost((fallback.inbound_spi,), "a worker died"), net.now)
    net.settle(net.west)
    net.run(5)
    assert [c.cpu for c in net.west.children] == [None, 0]
    assert fallback not in net.west.children
    net.assert_consistent()


def test_all_sas_lost_at_once_are_made_anew() -> None:
    net = Network().established()
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(2)
    spis = tuple(child.inbound_spi for child in reversed(net.west.children))
    net.west.endpoint.lost(Lost(spis, "every worker died"), net.now)
    net.settle(net.west)
    net.run(5)
    assert [c.cpu for c in net.west.children] == [None]
    assert not set(spis) & set(net.west.backend.installed)
    net.assert_consistent()


def all_lost() -> Network:
    """West has lost its only Child SA, and asks for another."""
    net = Network().established()
    net.west.endpoint.lost(Lost((net.west.children[0].inbound_spi,), "somebody flushed the kernel"), net.now)
    net.settle(net.west)
    return net


def test_traffic_stays_routed_while_a_lost_fallback_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    net, unrouted = all_lost(), list[str]()

    async def unroute(connection: str) -> None:
        unrouted.append(connection)

    monkeypatch.setattr(net.west.backend, "unroute", unroute)
    net.run(5)
    assert len(net.west.children) == 1
    assert unrouted == []


def test_traffic_is_routed_no_more_when_the_lost_fallback_is_not_to_be_had() -> None:
    net = all_lost()
    net.west.endpoint.tunnels[NAME].down(net.now)
    net.settle(net.west)
    net.run(10)
    assert net.west.children == []
    assert net.west.backend.policies == {}


def test_a_lost_clone_is_deleted_and_opened_again_by_traffic() -> None:
    net = Network().established()
    net.west.packet(0)
    net.run(2)
    clone = net.west.children[1]
    net.west.endpoint.lost(Lost((clone.inbound_spi,), "a worker died"), net.now)
    net.settle(net.west)
    net.run(5)
    assert [c.cpu for c in net.west.children] == [None]
    net.west.packet(0)
    net.run(5)
    assert [c.cpu for c in net.west.children] == [None, 0]
    net.assert_consistent()


@pytest.mark.parametrize("hard", [False, True])
def test_an_sa_that_is_used_up_is_replaced(hard: bool) -> None:
    net = Network().established()
    (old,) = net.west.children
    net.west.endpoint.expire(Expire(old.inbound_spi, hard), net.now)
    net.settle(net.west)
    net.run(30)
    (new,) = net.west.children
    assert new is not old
    net.assert_consistent()


def test_a_clone_that_cannot_be_installed_is_deleted_and_the_fallback_goes_on() -> None:
    net = Network().established()
    net.west.packet(0)
    net.run(2)
    fallback, clone = net.west.children
    net.west.endpoint.install_failed(clone.inbound_spi, "no room", net.now)
    net.settle(net.west)
    net.run(2)
    assert net.west.children == [fallback]
    assert [c.cpu for c in net.east.children] == [None]
    net.assert_consistent()


def test_an_sa_that_is_lost_while_it_is_being_deleted_is_deleted_once() -> None:
    net = by_hand()
    child = only_child(net.west)
    delete(net.west, child)
    net.west.endpoint.lost(Lost((child.inbound_spi,), "a worker died"), net.now)
    net.settle(net.west)
    kinds = [net.east.read(index).header.exchange for index in range(len(net.east.inbox))]
    assert kinds == [ExchangeType.INFORMATIONAL, ExchangeType.CREATE_CHILD_SA]
    assert_one_tunnel(net)


def test_an_sa_that_cannot_be_installed_is_deleted_at_the_peer_too() -> None:
    net = Network().established()
    (child,) = net.west.children
    net.west.endpoint.install_failed(child.inbound_spi, "no room", net.now)
    net.settle(net.west)
    net.run(4)
    assert "cannot be installed: no room" in failure(net.west)
    assert [side.children for side in net.sides] == [[], []]
    net.assert_consistent()
    net.run(6)
    assert [len(side.children) for side in net.sides] == [1, 1]


def test_a_deleted_fallback_is_replaced_and_the_clones_stay() -> None:
    net = Network().established()
    net.west.packet(0)
    net.run(2)
    fallback, clone = net.east.children
    net.east.endpoint.tunnels[NAME].children.replace_lost(net.east.ike, fallback, net.now)  # type: ignore[arg-type]
    net.settle(net.east)
    net.run(10)
    assert clone in net.east.children
    assert [c.cpu for c in net.west.children] == [None, 0]
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


def test_a_clone_that_the_peer_does_not_know_yet_is_kept_and_rekeyed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Requests, "creating_children", False)  # as a peer that answers CHILD_SA_NOT_FOUND at once
    net = Network().established().hold()
    net.east.packet(0)
    net.west.take()
    (clone,) = [child for child in net.west.children if child.cpu is not None]
    net.west.rekey()
    answer = net.east.inbox.popleft()
    while net.east.inbox:
        net.east.take()
    while net.west.inbox:
        net.west.take()
    assert clone in net.west.children
    net.receive(net.east, answer)
    net.release()
    net.run(30)
    assert clone not in net.west.children
    assert [child.cpu for child in net.west.children] == [None, clone.cpu]
    net.assert_consistent()


def test_a_clone_that_the_peer_has_lost_is_dropped_and_opened_again_by_traffic() -> None:
    net = Network().established()
    net.west.packet(0)
    net.run(2)
    clone, theirs = net.west.children[1], net.east.children[1]
    assert net.east.ike is not None
    theirs.tunnel.children.remove(net.east.ike, theirs, net.now)
    net.settle(net.east)
    net.west.rekey()
    net.run(2)
    assert clone not in net.west.children
    assert [c.cpu for c in net.west.children] == [None]
    net.west.packet(0)
    net.run(2)
    assert [c.cpu for c in net.west.children] == [None, 0]
    net.assert_consistent()
