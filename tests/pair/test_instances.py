"""A connection with %any for its peers: an instance for each of them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from ikeclone.connection import End, Identity, Secret, Timing
from ikeclone.credentials import Credentials
from ikeclone.errors import LocalError
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.state import State
from ikeclone.ike.tunnel import Tunnel
from ikeclone.reports import View
from ikeclone.selectors import TrafficSelector
from tests.pair.network import EAST_END, NAME, Network, Side, connection

ANYONE = End(None, None, (TrafficSelector.of(ip_network("192.0.0.0/16")),))
KEY = Credentials((Secret((), b"a secret of all road warriors"),))
TIMING = Timing(margin=60, dpd_delay=10, retransmit_timeout=15)


def road(settings: Settings | None = None) -> Network:
    """East serves anyone; west is the first to come."""
    net = Network(east={"remote": ANYONE, "timing": TIMING}, west={"timing": TIMING}, settings=settings)
    for side in net.sides:
        side.endpoint.credentials = side.credentials = KEY
    return net


def warrior(net: Network, number: int, name: str | None = None) -> Side:
    """One more host that connects to east."""
    address = f"198.51.100.{number}"
    subnet = TrafficSelector.of(ip_network(f"192.0.{number}.0/24"))
    end = End(None, Identity.parse(name or f"@host{number}"), (subnet,))
    side = net.add(address, connection(replace(end, address=ip_address(address)), EAST_END))
    side.endpoint.credentials = side.credentials = KEY
    return side


def up(*sides: Side) -> None:
    for side in sides:
        side.up()
        side.network.run_until(lambda side=side: bool(side.children))  # type: ignore[misc]
        side.network.run(1)


def instances(net: Network) -> dict[str, Tunnel]:
    """East's instances by name."""
    return {name: tunnel for name, tunnel in net.east.endpoint.tunnels.items() if name != NAME}


def peers(net: Network) -> dict[str, str]:
    return {name: str(tunnel.peer) for name, tunnel in instances(net).items()}


def ike_sas(side: Side) -> list[State]:
    return [sa.state for sa in side.endpoint.ike_sas() if sa.state is not State.DEAD]


def test_each_peer_has_its_instance() -> None:
    net = road()
    third = warrior(net, 7)
    up(net.west, third)
    assert peers(net) == {f"{NAME}[1]": "@west", f"{NAME}[2]": "@host7"}
    first, second = instances(net).values()
    assert str(second.connection.remote.address) == "198.51.100.7"
    assert str(second.connection.remote.identity) == "@host7"
    assert [str(each) for child in second.clones for each in child.agreement.remote] == ["192.0.7.0/24"]
    assert {str(policy.remote[0]) for policy in net.east.backend.policies.values()} == {"192.0.1.0/24", "192.0.7.0/24"}
    assert net.east.endpoint.tunnels[NAME].ike is None
    assert ike_sas(net.east) == [State.ESTABLISHED, State.ESTABLISHED]
    assert first.ike is not second.ike


def test_nobody_takes_the_traffic_of_another_peer() -> None:
    net = road()
    net.west.up()
    net.run(2)
    thief = warrior(net, 1, "@thief")
    thief.up()
    net.run(2)
    assert not thief.children
    assert [report.text for report in net.east.reports if "has this traffic already" in report.text]
    assert [str(policy.remote[0]) for policy in net.east.backend.policies.values()] == ["192.0.1.0/24"]
    assert list(net.east.backend.policies) == [f"{NAME}[1]"]


def test_clones_are_opened_and_counted_for_each_instance() -> None:
    net = road()
    third = warrior(net, 7)
    up(net.west, third)
    for side in (net.west, third):
        for cpu in (0, 1):
            side.packet(cpu)
            net.run(3)
    assert [len(tunnel.clones.clones) for tunnel in instances(net).values()] == [2, 2]
    names = [child.name for tunnel in instances(net).values() for child in tunnel.clones]
    assert names == [f"{NAME}[{peer}]-{clone}" for peer in (1, 2) for clone in (0, 1, 2)]


def test_an_instance_ends_with_its_last_sa_and_the_others_stay() -> None:
    net = road()
    third = warrior(net, 7)
    up(net.west, third)
    net.west.down()
    net.run(2)
    assert peers(net) == {f"{NAME}[2]": "@host7"}
    assert net.east.backend.policies.keys() == {f"{NAME}[2]"}
    third.down()
    net.run(60)
    assert (instances(net), net.east.backend.policies, net.east.backend.installed) == ({}, {}, {})
    assert net.east.endpoint.host.timers.owners() == ()
    assert ike_sas(net.east) == []


def test_a_dead_peer_takes_its_instance_with_it() -> None:
    net = road()
    up(net.west)
    net.link.cut = True
    net.run(120)
    assert instances(net) == {}
    assert net.east.backend.policies == {}


def test_one_that_fails_to_authenticate_leaves_no_trace() -> None:
    net = road()
    net.west.endpoint.credentials = Credentials((Secret((), b"another secret"),))
    net.west.up()
    net.run(120)
    assert instances(net) == {}
    assert net.east.endpoint.host.timers.owners() == ()
    assert net.east.endpoint.tunnel(NAME).instances._last == 0


def test_a_peer_that_comes_back_takes_its_instances_place() -> None:
    net = road()
    up(net.west)
    net.west.start()
    net.west.endpoint.credentials = KEY
    up(net.west)
    assert peers(net) == {f"{NAME}[1]": "@west"}
    assert ike_sas(net.east) == [State.ESTABLISHED]
    (instance,) = instances(net).values()
    assert {c.outbound_spi for c in instance.clones} == {c.inbound_spi for c in net.west.children}


def test_a_peer_that_comes_back_from_elsewhere_does_too() -> None:
    net = road()
    up(net.west)
    moved = warrior(net, 1, "@west")
    up(moved)
    assert peers(net) == {f"{NAME}[1]": "@west"}
    (instance,) = instances(net).values()
    assert str(instance.connection.remote.address) == "198.51.100.1"
    assert [str(policy.path.remote) for policy in net.east.backend.policies.values()] == ["198.51.100.1"]


def test_with_uniqueids_no_an_identity_may_be_used_by_several_at_a_time() -> None:
    net = road(Settings(uniqueids=False))
    third = warrior(net, 7, "@west")
    up(net.west, third)
    assert peers(net) == {f"{NAME}[1]": "@west", f"{NAME}[2]": "@west"}
    assert ike_sas(net.east) == [State.ESTABLISHED, State.ESTABLISHED]


def test_there_are_no_more_instances_than_allowed() -> None:
    net = road(Settings(instance_limit=1))
    third = warrior(net, 7)
    up(net.west)
    third.up()
    net.run(3)
    assert peers(net) == {f"{NAME}[1]": "@west"}
    assert [report.text for report in third.kinds(Kind.FAILED)] == ["the peer answers TEMPORARY_FAILURE"]
    assert ike_sas(net.east) == [State.ESTABLISHED]
    net.west.down()
    up(third)
    assert peers(net) == {f"{NAME}[1]": "@host7"}


def test_commands_take_one_instance_or_all() -> None:
    net = road()
    third = warrior(net, 7)
    up(net.west, third)
    east = net.east.endpoint
    assert [tunnel.connection.name for tunnel in east.named(NAME)] == [f"{NAME}[1]", f"{NAME}[2]"]
    (second,) = east.named(f"{NAME}[2]")
    second.down(net.now)
    net.settle(net.east)
    net.run(2)
    assert peers(net) == {f"{NAME}[1]": "@west"}
    assert third.children == []
    with pytest.raises(LocalError, match="no address of its peer"):
        east.tunnel(NAME).up(net.now)


def test_reports_show_the_template_and_its_instances() -> None:
    net = road()
    third = warrior(net, 7)
    up(net.west, third)
    view = View(net.east.endpoint, net.east.backend.counted, net.now, 0.0)
    rows = [(row.name, row.state, row.remote, row.remote_selectors) for row in view.connections()]
    assert rows == [
        (NAME, "2 peers", "%any[%any]", ["192.0.0.0/16"]),
        (f"{NAME}[1]", "up", "192.1.2.45[@west]", ["192.0.1.0/24"]),
        (f"{NAME}[2]", "up", "198.51.100.7[@host7]", ["192.0.7.0/24"]),
    ]
    assert [(row.name, row.id, row.peer) for row in view.traffic(NAME).rows] == [
        (f"{NAME}[1]-0", "@west", "192.1.2.45"),
        (f"{NAME}[2]-0", "@host7", "198.51.100.7"),
    ]
    assert view.clones(f"{NAME}[2]").connection == f"{NAME}[2]"
    with pytest.raises(LocalError, match="has 2 peers: name one of them"):
        view.clones(NAME)


def test_either_side_rekeys_an_instance() -> None:
    net = road()
    up(net.west)
    (instance,) = instances(net).values()
    for ike in (True, False):
        net.west.rekey(ike=ike)
        net.run(5)
        instance.rekey(net.now, ike)
        net.settle(net.east)
        net.run(5)
    assert peers(net) == {f"{NAME}[1]": "@west"}
    assert ike_sas(net.east) == [State.ESTABLISHED]
    assert {c.outbound_spi for c in instance.clones} == {c.inbound_spi for c in net.west.children}
