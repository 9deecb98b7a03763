"""One connection of west's for which east has two, with other traffic each."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from ikeclone.ike.narrowing import Selectors
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.selectors import TrafficSelector
from tests.pair.network import EAST_END, NAME, WEST_END, Network, Side
from tests.pair.test_sharing import act

OTHER = "other"
WIDE, FIRST, SECOND = ("192.0.1.0/24", "192.0.3.0/24"), ("192.0.1.0/24",), ("192.0.3.0/24",)
PART = ("192.0.1.0/25",)


def selectors(networks: tuple[str, ...]) -> Selectors:
    return tuple(TrafficSelector.of(ip_network(network)) for network in networks)


def two_for_one(first: tuple[str, ...] = FIRST, second: tuple[str, ...] = SECOND, /, **changes: object) -> Network:
    """East has two connections with west, for these networks there, and brings both up; west has one for all of them.

    `changes` are for both sides.
    """
    net = Network(
        west={"local": replace(WEST_END, selectors=selectors(WIDE)), "clones": 0, **changes},
        east={"remote": replace(WEST_END, selectors=selectors(first)), "clones": 0, **changes},
    )
    remote = replace(WEST_END, selectors=selectors(second))
    net.east.endpoint.add(replace(net.east.conn, name=OTHER, local=EAST_END, remote=remote), net.now)
    for name in (NAME, OTHER):
        act(net.east, "up", name)
    return net


def established(side: Side) -> list[IkeSa]:
    return [sa for sa in side.endpoint.ike_sas() if sa.state is State.ESTABLISHED]


def carried(side: Side) -> dict[str, list[str]]:
    """The traffic of each of a side's connections that has Child SAs, the part that is west's."""
    west = side is side.network.west
    policies = {sa.connection: side.backend.policies[sa.connection] for sa in side.backend.installed.values()}
    return {name: [str(each) for each in (p.local if west else p.remote)] for name, p in sorted(policies.items())}


def agree(net: Network) -> None:
    """Both sides have the same Child SAs, for the same traffic, and nothing else."""
    west, east = (side.backend.installed for side in net.sides)
    assert {sa.outbound_spi: (sa.local, sa.remote) for sa in west.values()} == {
        spi: (sa.remote, sa.local) for spi, sa in east.items()
    }
    for side in net.sides:
        assert not side.backend.reserved
        assert side.backend.installed.keys() == {
            c.inbound_spi for t in side.endpoint.tunnels.values() for c in t.clones
        }
        assert all((sa.local, sa.remote) == traffic(side, sa.connection) for sa in side.backend.installed.values())
        assert {child.state.value for sa in established(side) for child in sa.children.values()} <= {"installed"}


def traffic(side: Side, connection: str) -> tuple[Selectors, Selectors]:
    policy = side.backend.policies[connection]
    return policy.local, policy.remote


def ping(net: Network, times: int = 1) -> None:
    """Packets of all Child SAs cross the network, both ways."""
    for _ in range(times):
        for side in net.sides:
            for name in {sa.connection for sa in side.backend.installed.values()}:
                packet = side.backend.transmit(name, 0, 84)
                assert packet is not None
                side.backend.events.clear()
                net.carry(side, packet)
        net.run(0.2)
    assert net.lost_packets == []
