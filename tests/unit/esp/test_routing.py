"""Which SA a packet takes, and who is asked for another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from ikeclone.backend import Acquire, ChildSa, Event, Policy, TrafficSelector
from ikeclone_esp import counters
from ikeclone_esp.associations import OutboundSa
from ikeclone_esp.routing import Routing, Verdict
from tests.unit.esp.packets import child_sa, networks, udp

PACKET = memoryview(udp(100))
OF_PACKET = (
    TrafficSelector.of(ip_network("10.1.0.1"), 17, 9),
    TrafficSelector.of(ip_network("10.2.0.1"), 17, 9),
)


class Setting:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fd = counters.create(2)
        self.table = counters.Table(self.fd, 2)
        self.routing = Routing(cpu=3, worker=1, report=self.events.append)

    def route(self, connection: str = "net-net", remote: str = "10.2.0.0/24") -> None:
        sa = child_sa()
        self.routing.route(Policy(connection, sa.local, networks(remote), sa.path))

    def outbound(self, sa: ChildSa) -> OutboundSa:
        outbound = OutboundSa(sa, None, self.table.row(0), self.events.append)  # type: ignore[arg-type]
        self.routing.activate(outbound)
        return outbound


@pytest.fixture
def setting() -> Iterator[Setting]:
    setting = Setting()
    yield setting
    setting.table.close()
    os.close(setting.fd)


def test_no_policy(setting: Setting) -> None:
    assert setting.routing.verdict(PACKET) == Verdict()
    assert not setting.events


def test_hold_then_fallback_then_clone_and_back(setting: Setting) -> None:
    setting.route()
    verdict = setting.routing.verdict
    assert verdict(PACKET) == Verdict(connection="net-net", ask="net-net")
    setting.routing.set_fallback("net-net", 0)
    assert verdict(PACKET) == Verdict(worker=0, connection="net-net", ask="net-net")
    fallback = setting.outbound(child_sa(cpu=None))
    setting.routing.set_fallback("net-net", 1)
    assert verdict(PACKET) == Verdict(sa=fallback, connection="net-net", ask="net-net")
    assert setting.events == [Acquire("net-net", 3, OF_PACKET)] * 3  # for any SA, then for a clone as soon as can be
    assert verdict(PACKET).ask == "net-net"
    assert len(setting.events) == 3
    clone = setting.outbound(child_sa(cpu=3))
    rekeyed = setting.outbound(child_sa(cpu=3))
    assert verdict(PACKET).sa is rekeyed
    assert verdict(PACKET).ask is None
    assert setting.routing.fallback_verdict(PACKET).sa is fallback
    for sa, then in ((rekeyed, clone), (clone, fallback), (fallback, None)):
        setting.routing.deactivate(sa)
        assert verdict(PACKET).sa is then


def test_another_workers_newer_fallback_is_used_while_there_is_one(setting: Setting) -> None:
    setting.route()
    ours = setting.outbound(child_sa(cpu=None))
    setting.routing.set_fallback("net-net", 0)
    assert setting.routing.verdict(PACKET) == Verdict(worker=0, connection="net-net", ask="net-net")
    setting.routing.set_fallback("net-net", None)
    assert setting.routing.verdict(PACKET).sa is ours


def test_of_the_same_networks_the_narrower_protocols_and_ports_go_first(setting: Setting) -> None:
    sa = child_sa()
    (net,) = networks("10.2.0.0/24")
    for name, protocol, port in (("udp", 17, None), ("any", 0, None), ("port", 17, 9), ("tcp", 6, None)):
        remote = replace(net, protocol=protocol, first_port=port or 0, last_port=port or 65535)
        setting.routing.route(Policy(name, sa.local, (remote,), sa.path))
    for connection in ("port", "udp", "any"):
        assert setting.routing.verdict(PACKET).connection == connection
        setting.routing.unroute(connection)
    assert setting.routing.verdict(PACKET).connection is None


def test_a_new_policy_lets_packets_ask_anew(setting: Setting) -> None:
    setting.route("wide", "10.0.0.0/8")
    setting.routing.verdict(PACKET)
    assert setting.routing.hold("wide", b"frame") == 0
    setting.route("narrow", "10.3.0.0/16")
    setting.routing.verdict(PACKET)
    assert [event.connection for event in setting.events if isinstance(event, Acquire)] == ["wide", "wide"]
    assert setting.routing.waiting == ("wide",)


def test_the_narrower_policy_goes_first(setting: Setting) -> None:
    setting.route("wide", "10.0.0.0/8")
    setting.route("narrow", "10.2.0.0/28")
    setting.route("middle", "10.2.0.0/16")
    for connection in ("narrow", "middle", "wide"):
        assert setting.routing.verdict(PACKET).connection == connection
        setting.routing.unroute(connection)
    assert setting.routing.verdict(PACKET).connection is None


def test_an_sa_is_used_for_what_it_was_narrowed_to(setting: Setting) -> None:
    setting.route()
    fallback = setting.outbound(child_sa(cpu=None))
    only_dns = (TrafficSelector.of(ip_network("10.2.0.0/24"), 17, 53),)
    clone = setting.outbound(replace(child_sa(cpu=3), remote=only_dns))
    assert setting.routing.verdict(PACKET).sa is fallback
    assert setting.routing.verdict(memoryview(udp(100, 53))).sa is clone


def test_the_oldest_held_packet_goes_first(setting: Setting) -> None:
    setting.route()
    lost = sum(setting.routing.hold("net-net", bytes([i])) for i in range(70))
    assert lost == 6
    assert list(setting.routing.release("net-net")) == [bytes([i]) for i in range(6, 70)]
    assert not setting.routing.release("net-net")
