"""The steps of strongSwan's per-CPU scenarios, with the packets of every SA counted exactly.

West has four CPUs that ping; east's answers all leave on its CPU 0, where its interrupts go.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ikeclone.backend import Mode
from ikeclone.connection import Auto, End
from ikeclone.ike.informational import DeleteChildren
from ikeclone.ike.rekey_child import RekeyChild
from tests.pair.groups import ask, assert_each_cpu_is_served_once
from tests.pair.network import EAST_END, NAME, WEST_END, Network, Side

BASE: Mapping[str, object] = {"clones": None, "auto": Auto.ONDEMAND}
ENCAP = {**BASE, "clones_encap": True}
HOSTS = [End(end.address, end.identity) for end in (WEST_END, EAST_END)]
VARIANTS = {
    "tunnel": (BASE, BASE),
    "encap": (ENCAP, ENCAP),
    "encap-transport": tuple(
        {**ENCAP, "mode": Mode.TRANSPORT, "local": local, "remote": remote}
        for local, remote in (HOSTS, HOSTS[::-1])
    ),
}  # fmt: skip


@pytest.fixture(params=VARIANTS)
def net(request: pytest.FixtureRequest) -> Network:
    west, east = VARIANTS[request.param]
    return Network(cpus=(4, 4), west=west, east=east)


def ping(net: Network, cpu: int, reply: int = 0) -> None:
    """An echo request on a CPU of the west's, its reply, and time for what they set off."""
    assert net.west.packet(cpu)
    net.run(0.01)
    assert net.east.packet(reply)
    net.run(3)


def carried(side: Side) -> dict[int | None, tuple[int, int]]:
    """Packets in and out of the SA of each CPU; two SAs of a CPU would be a mistake."""
    assert len({c.cpu for c in side.children}) == len(side.children)
    counted = side.backend.counted
    return {c.cpu: (counted[c.inbound_spi].in_packets, counted[c.inbound_spi].out_packets) for c in side.children}


def rekey(side: Side, cpu: int | None, peer: Network) -> None:
    """Rekey the SA that serves a CPU of the west's, from either side."""
    west = next(c for c in peer.west.children if c.cpu == cpu)
    child = next(c for c in side.children if west.inbound_spi in (c.inbound_spi, c.outbound_spi))
    assert side.ike is not None
    ask(side, RekeyChild(side.ike, child))
    peer.run(3)


def all_clones(net: Network) -> None:
    """The first steps: the packet that brings it up is lost, the others are carried by the fallback until then."""
    assert not net.west.packet(1)
    net.run(3)
    for cpu in (1, 0, 2, 3):
        ping(net, cpu)


def test_the_first_packet_brings_the_fallback_up_and_is_lost(net: Network) -> None:
    assert net.west.backend.policies.keys() == {NAME}
    assert not net.west.packet(1)
    net.run(3)
    for side in net.sides:
        assert carried(side) == {None: (0, 0)}
        assert side.children[0].agreement.per_resource
    assert len(net.seen) == 4


def test_each_cpu_gets_its_clone_while_the_fallback_carries_its_first_packet(net: Network) -> None:
    assert not net.west.packet(1)
    net.run(3)
    ping(net, 1)
    assert carried(net.west) == {None: (1, 1), 1: (0, 0)}
    ping(net, 1)
    assert carried(net.west) == {None: (1, 1), 1: (1, 1)}
    ping(net, 0)
    assert carried(net.west) == {None: (1, 2), 1: (2, 1), 0: (0, 0)}
    ping(net, 2)
    assert carried(net.west) == {None: (1, 3), 1: (3, 1), 0: (0, 0), 2: (0, 0)}
    ping(net, 3)
    assert carried(net.west) == {None: (1, 4), 1: (4, 1), 0: (0, 0), 2: (0, 0), 3: (0, 0)}
    assert carried(net.east) == {None: (4, 1), 0: (1, 4), 1: (0, 0), 2: (0, 0), 3: (0, 0)}
    assert net.west.backend.counted[net.west.children[0].inbound_spi].out_by_cpu == {1: 1, 0: 1, 2: 1, 3: 1}
    assert net.lost_packets == []
    assert_each_cpu_is_served_once(net)


def test_then_every_cpu_sends_on_its_own_sa(net: Network) -> None:
    all_clones(net)
    before, messages = carried(net.west), len(net.seen)
    for cpu in range(4):
        ping(net, cpu)
    after = carried(net.west)
    assert after[None] == before[None]
    assert [after[cpu][1] - before[cpu][1] for cpu in range(4)] == [1, 1, 1, 1]
    assert after[1][0] - before[1][0] == 4
    assert len(net.seen) == messages


def test_rekeyed_by_west_by_east_and_the_fallback_they_carry_the_same(net: Network) -> None:
    all_clones(net)
    old = {c.inbound_spi: c.cpu for c in net.west.children}
    rekey(net.west, 0, net)
    assert carried(net.west)[0] == (0, 0)
    rekey(net.east, 2, net)
    assert carried(net.west)[2] == (0, 0)
    rekey(net.west, None, net)
    kept = {c.cpu for c in net.west.children if c.inbound_spi in old}
    assert kept == {1, 3}
    before = carried(net.west)
    for cpu in range(4):
        ping(net, cpu)
    assert carried(net.west) == {
        None: (0, 0),
        0: (0, 1),
        1: (before[1][0] + 4, before[1][1] + 1),
        2: (0, 1),
        3: (0, before[3][1] + 1),
    }
    assert net.lost_packets == []
    assert_each_cpu_is_served_once(net)


@pytest.mark.parametrize("by", ["west", "east"])
@pytest.mark.parametrize("cpu", [0, 1, 2, 3])
def test_a_deleted_clone_leaves_its_cpu_to_the_fallback_until_it_sends_again(net: Network, by: str, cpu: int) -> None:
    all_clones(net)
    side: Side = getattr(net, by)
    west = next(c for c in net.west.children if c.cpu == cpu)
    child = next(c for c in side.children if west.inbound_spi in (c.inbound_spi, c.outbound_spi))
    assert side.ike is not None
    ask(side, DeleteChildren(side.ike, (child,)))
    net.run(60)
    assert cpu not in carried(net.west)
    fallback = carried(net.west)[None]
    ping(net, cpu)
    assert carried(net.west)[None][1] == fallback[1] + 1
    assert carried(net.west)[cpu] == (0, 0)
    ping(net, cpu)
    assert carried(net.west)[None][1] == fallback[1] + 1
    assert carried(net.west)[cpu][1] == 1
    assert net.lost_packets == []
    assert_each_cpu_is_served_once(net)


def test_replies_from_every_cpu_use_the_clones_that_are_there(net: Network) -> None:
    all_clones(net)
    messages = len(net.seen)
    before = carried(net.east)
    for cpu in range(4):
        ping(net, cpu, reply=cpu)
    after = carried(net.east)
    assert [after[cpu][1] - before[cpu][1] for cpu in range(4)] == [1, 1, 1, 1]
    assert after[None] == before[None]
    assert len(net.seen) == messages


def test_how_esp_travels(net: Network, request: pytest.FixtureRequest) -> None:
    all_clones(net)
    variant = request.node.callspec.params["net"]
    for side in net.sides:
        for sa in side.backend.installed.values():
            assert sa.udp_encapsulation == variant.startswith("encap")
            assert sa.mode is (Mode.TRANSPORT if variant.endswith("transport") else Mode.TUNNEL)
            if sa.udp_encapsulation:
                assert sa.path.remote_port == 4500
                assert (sa.path.local_port == 4500) == (sa.cpu is None)
