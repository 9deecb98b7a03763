"""A peer behind a NAT: port 4500, UDP encapsulation, keepalives, and a mapping that changes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from ikeclone.connection import Timing
from ikeclone.ike.informational import Liveness
from ikeclone.ike.keepalive import KEEPALIVE
from tests.pair.groups import ask
from tests.pair.nat import Nat
from tests.pair.network import WEST, WEST_END, Network
from tests.pair.scenario import by_hand, ike_sa

OUTSIDE, ELSEWHERE = ip_address("198.51.100.1"), ip_address("198.51.100.2")


@pytest.fixture
def net() -> Network:
    """West is behind a NAT; east takes the connection from anywhere."""
    return Network(nat=Nat(WEST, OUTSIDE), east={"remote": replace(WEST_END, address=None)}).established()


def test_nat_is_found_and_everything_moves_to_port_4500(net: Network) -> None:
    assert net.west.ike is not None
    assert net.east.ike is not None
    assert (net.west.ike.path.local_port, net.west.ike.path.remote_port) == (4500, 4500)
    assert (net.east.ike.path.remote, net.east.ike.path.local_port) == (OUTSIDE, 4500)
    assert net.west.ike.abilities.nat.local
    assert not net.west.ike.abilities.nat.remote
    assert net.east.ike.abilities.nat.remote
    for side in net.sides:
        assert all(sa.udp_encapsulation for sa in side.backend.installed.values())
    net.assert_consistent()


def test_who_is_behind_the_nat_keeps_the_mapping_alive(net: Network) -> None:
    net.run(100)
    assert sum(sent.data == KEEPALIVE for sent in net.west.sent) == 5
    assert not any(sent.data == KEEPALIVE for sent in net.east.sent)


def test_a_new_mapping_is_followed_by_authentic_messages_only(net: Network) -> None:
    assert net.nat is not None
    assert net.east.ike is not None
    before = net.east.ike.path
    net.nat.forget(ELSEWHERE)
    stray = next(sent for sent in net.west.sent if len(sent.data) > 28)
    net.receive(net.east, stray)
    assert net.east.ike.path == before
    net.west.rekey()
    net.run(5)
    assert net.east.ike.path.remote == ELSEWHERE
    assert all(child.path.remote == ELSEWHERE for child in net.east.children)
    net.assert_consistent()


def test_liveness_of_the_hidden_side_finds_the_way_again() -> None:
    nat = Nat(WEST, OUTSIDE)
    net = Network(
        nat=nat, west={"timing": Timing(dpd_delay=5)}, east={"remote": replace(WEST_END, address=None)}
    ).established()
    nat.forget(ELSEWHERE)
    net.run(10)
    net.east.rekey()
    net.run(5)
    net.assert_consistent()
    assert net.east.ike is not None
    assert net.east.ike.path.remote == ELSEWHERE


def test_without_a_nat_a_peer_is_where_it_was_whatever_the_source_of_a_request() -> None:
    """The answer goes where the request came from, and nothing else does (RFC 7296 section 2.23)."""
    net = by_hand()
    ask(net.west, Liveness(ike_sa(net.west)))
    request = net.east.inbox.popleft()
    net.receive(net.east, replace(request, path=replace(request.path, local=ELSEWHERE)))
    assert net.east.sent[-1].path.remote == ELSEWHERE
    assert ike_sa(net.east).path.remote == WEST
    assert all(sa.path.remote == WEST for sa in net.east.backend.installed.values())
