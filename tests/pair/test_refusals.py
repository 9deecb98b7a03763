"""What cannot come up: a clear word at the side that can mend it, and nothing left over."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from ikeclone.connection import Auto, Identity, Secret, Timing
from ikeclone.credentials import Credentials
from ikeclone.crypto.registry import parse_esp, parse_ike
from ikeclone.errors import LocalError
from ikeclone.selectors import TrafficSelector
from tests.pair.network import NAME, SECRET, WEST_END, Network
from tests.pair.scenario import assert_nothing_left, by_hand, failure

NORTH = TrafficSelector.of(ip_network("192.0.3.0/24"))


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
