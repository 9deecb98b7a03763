"""Up, traffic, clones and down between two endpoints."""

from __future__ import annotations

import pytest

from ikeclone.backend import Mode
from ikeclone.connection import Auto, Choice
from ikeclone.crypto.registry import parse_ike
from ikeclone.errors import LocalError
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, KeMethod
from ikeclone.wire.payloads import KeyExchange
from tests.pair.network import NAME, Network
from tests.pair.scenario import by_hand


@pytest.fixture
def net() -> Network:
    return Network()


def test_up_makes_one_unbound_sa(net: Network) -> None:
    net.established()
    for side in net.sides:
        (fallback,) = side.children
        assert (fallback.name, fallback.cpu, fallback.active) == (f"{NAME}-0", None, True)
        assert side.backend.policies.keys() == {NAME}
    net.assert_consistent()


def test_four_messages_bring_it_up(net: Network) -> None:
    net.established()
    assert len(net.seen) == 4


def test_up_of_an_established_connection_says_so(net: Network) -> None:
    net.established().west.up()
    assert net.west.kinds(Kind.CHILD_UP)[-1].text == "the connection is up already"
    assert len(net.seen) == 4


def test_traffic_opens_a_clone_for_its_cpu(net: Network) -> None:
    net.established()
    for cpu in (0, 1):
        assert net.west.packet(cpu)
        net.run(2)
    assert [(c.name, c.cpu) for c in net.west.children] == [(f"{NAME}-0", None), (f"{NAME}-1", 0), (f"{NAME}-2", 1)]
    assert sorted(c.cpu for c in net.east.children if c.cpu is not None) == [0, 1]
    net.assert_consistent()
    assert net.lost_packets == []


def test_a_clone_carries_its_cpus_packets_and_the_fallback_the_others(net: Network) -> None:
    net.established()
    net.west.packet(1)
    net.run(2)
    for _ in range(3):
        net.west.packet(1)
    net.run(1)
    fallback, clone = net.west.children
    counters = net.west.backend.counted
    assert (counters[fallback.inbound_spi].out_packets, counters[clone.inbound_spi].out_packets) == (1, 3)
    assert net.east.backend.counted[clone.outbound_spi].in_bytes == 3 * 84


def test_acquires_for_one_cpu_open_one_clone(net: Network) -> None:
    net.established()
    for _ in range(5):
        net.west.packet(0)
    net.run(2)
    assert [c.cpu for c in net.west.children] == [None, 0]


def test_both_sides_open_clones_at_once_and_each_cpu_is_served(net: Network) -> None:
    net.established()
    net.west.packet(0)
    net.east.packet(0)
    net.run(3)
    for side in net.sides:
        assert {c.cpu for c in side.children} == {None, 0, 1}
        assert all(c.active for c in side.children)
    net.assert_consistent()


def test_two_clones_are_enough_when_the_peer_opens_one_meanwhile() -> None:
    net = Network(settings=Settings(window=1)).established()
    net.west.packet(0)
    net.east.packet(1)
    net.run(0.005)
    net.west.packet(1)
    net.run(3)
    assert [len(side.children) for side in net.sides] == [3, 3]
    assert {c.cpu for c in net.west.children} == {None, 0, 1}
    net.assert_consistent()


def test_clones_no_is_a_regular_sa_and_no_acquire_opens_another() -> None:
    net = Network(west={"clones": 0}).established()
    net.west.packet(0)
    net.east.packet(1)
    net.run(5)
    for side in net.sides:
        (child,) = side.children
        assert child.name == NAME
    assert len(net.seen) == 4


def test_the_limit_of_clones_is_kept() -> None:
    net = Network(cpus=(4, 4), west={"clones": 2}, east={"clones": 2}).established()
    for cpu in range(4):
        net.west.packet(cpu)
        net.run(2)
    assert [c.cpu for c in net.west.children] == [None, 0, 1]


def test_a_responder_refuses_clones_beyond_twice_its_cpus_and_the_sender_waits() -> None:
    net = Network(cpus=(8, 1), west={"clones": None}, east={"clones": 1}).established()
    for cpu in range(8):
        net.west.packet(cpu)
        net.run(2)
    assert len(net.west.children) == 3
    assert "TS_MAX_QUEUE" in net.west.kinds(Kind.REFUSED)[0].text
    messages = len(net.seen)
    net.west.packet(7)
    net.run(5)
    assert len(net.seen) == messages
    net.run(60)
    net.west.packet(7)
    net.run(2)
    assert len(net.seen) > messages


def test_down_deletes_everything_on_both_sides(net: Network) -> None:
    net.established()
    net.west.packet(0)
    net.run(2)
    net.west.down()
    net.run(1)
    for side in net.sides:
        assert side.children == []
        assert side.ike is None
        assert side.backend.installed == {}
        assert side.backend.policies == {}
        assert side.kinds(Kind.IKE_DOWN)
    net.run(60)
    assert not list(net.east.endpoint.ike_sas())


def test_down_before_the_peer_answers(net: Network) -> None:
    net.west.up()
    net.west.down()
    net.run(120)
    assert net.west.ike is None
    assert not net.west.endpoint.host.timers.owners()


def test_an_instance_is_not_a_connection(net: Network) -> None:
    net.established()
    with pytest.raises(LocalError, match=f"{NAME}-1 is an instance of {NAME}"):
        net.west.endpoint.tunnel(f"{NAME}-1")
    with pytest.raises(LocalError, match=f"no connection other.*{NAME}"):
        net.west.endpoint.tunnel("other")


def test_ondemand_comes_up_by_traffic() -> None:
    net = Network(west={"auto": Auto.ONDEMAND})
    assert net.west.backend.policies.keys() == {NAME}
    assert not net.west.packet(0)
    net.run(1)
    assert net.west.packet(0)
    net.west.down()
    net.run(1)
    assert net.west.backend.policies.keys() == {NAME}


def test_start_comes_up_by_itself() -> None:
    net = Network(west={"auto": Auto.START})
    net.run(1)
    assert len(net.east.children) == 1


def test_both_sides_start_at_once_and_one_ike_sa_is_left() -> None:
    net = Network(west={"auto": Auto.START}, east={"auto": Auto.START})
    net.run(120)
    for side in net.sides:
        assert len(list(side.endpoint.ike_sas())) == 1
        assert len(side.children) == 1
        assert side.packet(0)
    net.run(2)
    assert net.lost_packets == []
    net.assert_consistent()


def test_transport_mode_when_both_want_it() -> None:
    both = {"mode": Mode.TRANSPORT}
    net = Network(west=both, east=both).established()
    assert {sa.mode for side in net.sides for sa in side.backend.installed.values()} == {Mode.TRANSPORT}


def test_tunnel_mode_when_one_does_not_want_transport() -> None:
    net = Network(west={"mode": Mode.TRANSPORT}).established()
    assert {sa.mode for side in net.sides for sa in side.backend.installed.values()} == {Mode.TUNNEL}


def test_encapsulation_yes_moves_to_port_4500() -> None:
    net = Network(west={"encapsulation": Choice.YES}).established()
    assert net.west.ike is not None
    assert (net.west.ike.path.local_port, net.west.ike.path.remote_port) == (4500, 4500)
    assert all(sa.udp_encapsulation for side in net.sides for sa in side.backend.installed.values())


def test_encapsulation_no_says_nothing_of_nat() -> None:
    net = Network(west={"encapsulation": Choice.NO}, east={"encapsulation": Choice.YES}).established()
    assert not any(sa.udp_encapsulation for side in net.sides for sa in side.backend.installed.values())


def test_another_key_exchange_method_is_asked_for() -> None:
    net = Network(
        west={"ike": parse_ike("aes_gcm256-sha2_256-dh31+dh19")},
        east={"ike": parse_ike("aes256gcm16-prfsha256-ecp256")},
    )
    net.established()
    assert len(net.seen) == 6
    assert net.west.ike is not None
    assert net.west.ike.suite.ke is KeMethod.ECP_256


def test_cookies_are_demanded_under_load() -> None:
    net = Network(settings=Settings(cookie_threshold=0)).established()
    assert net.east.endpoint.counters["cookie demanded"] == 1
    assert len(net.seen) == 6


def test_ike_sa_of_the_initiator_is_authenticated_before_anything_else(net: Network) -> None:
    net.west.up()
    net.run(0.015)
    (embryo,) = net.east.endpoint.ike_sas()
    assert embryo.state is State.HALF_OPEN
    assert len(embryo.handlers) == 1


@pytest.mark.parametrize("cipher", ["aes256-sha2_256", "aes_ctr256-sha2_256", "chacha20_poly1305-sha2_256"])
@pytest.mark.parametrize("size", [1228, 300])
def test_ciphers_of_ike(cipher: str, size: int) -> None:
    """Each with its own kind of IV and padding, whole and in fragments."""
    both = {"ike": parse_ike(f"{cipher}-dh31")}
    net = Network(west=both, east=both, settings=Settings(fragment_size=size)).established()
    for ike in (False, True, False):
        net.west.rekey(ike=ike)
        net.run(2)
    net.assert_consistent()
    assert len(net.west.kinds(Kind.CHILD_REKEYED)) == 2
    assert max(len(each.data) for each in net.seen if each.data[18] != ExchangeType.IKE_SA_INIT) <= size


def test_without_pfs_keys_come_from_the_ike_sa_alone() -> None:
    net = by_hand(pfs=False, clones=2)
    for act in (net.west.rekey, lambda: net.west.packet(0)):
        act()
        assert net.east.read(len(net.east.inbox) - 1).first(KeyExchange) is None
        net.east.take(len(net.east.inbox) - 1)
        assert net.west.read(len(net.west.inbox) - 1).first(KeyExchange) is None
        net.release()
        net.run(5)
        net.hold()
    assert [c.cpu for c in net.west.children] == [None, 0]
    assert len(net.west.kinds(Kind.CHILD_REKEYED)) == 1
    net.assert_consistent()
