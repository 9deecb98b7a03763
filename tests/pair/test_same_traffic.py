"""All Child SAs of a connection are for the same traffic: one for other traffic is refused, and said to be."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from ikeclone.ike.actions import Kind
from ikeclone.ike.child import ChildState
from ikeclone.ike.clones import Clones
from ikeclone.ike.narrowing import Selectors
from ikeclone.selectors import TrafficSelector
from tests.pair.network import EAST_END, NAME, WEST_END, Network
from tests.pair.scenario import assert_carries, ike_sa

OTHER = "other"
WIDE, FIRST, PART = ("192.0.1.0/24", "192.0.3.0/24"), ("192.0.1.0/24",), ("192.0.1.0/25",)


def selectors(networks: tuple[str, ...]) -> Selectors:
    return tuple(TrafficSelector.of(ip_network(network)) for network in networks)


def second(first: tuple[str, ...], networks: tuple[str, ...]) -> Network:
    """East has two connections with west, for these networks there; west has one for all of them."""
    local = replace(WEST_END, selectors=selectors(WIDE))
    net = Network(
        west={"local": local, "clones": 0},
        east={"remote": replace(WEST_END, selectors=selectors(first)), "clones": 0},
    )
    remote = replace(WEST_END, selectors=selectors(networks))
    net.east.endpoint.add(replace(net.east.conn, name=OTHER, local=EAST_END, remote=remote), net.now)
    net.east.up()
    net.run(2)
    other = net.east.endpoint.tunnels[OTHER]
    other.up(net.now)
    other._alone = True
    net.settle(net.east)
    net.run(3)
    return net


@pytest.mark.parametrize(
    ("first", "networks"), [(FIRST, ("192.0.3.0/24",)), (FIRST, PART), (WIDE, FIRST), (PART, FIRST)]
)
def test_disjoint_narrower_and_wider_ones_are_refused(first: tuple[str, ...], networks: tuple[str, ...]) -> None:
    net = second(first, networks)
    (child,) = net.west.children
    assert child.agreement.local == selectors(first)
    refusal = f"{NAME} has Child SAs for other traffic: give this a connection of its own"
    assert any(refusal in report.text for report in net.west.kinds(Kind.PROGRESS))
    assert any("TS_UNACCEPTABLE" in report.text for report in net.east.kinds(Kind.FAILED))
    assert not net.west.backend.reserved
    assert net.west.backend.policies[NAME].local == selectors(first)
    assert_carries(net)


def test_an_equal_one_is_taken() -> None:
    net = second(FIRST, FIRST)
    assert [child.state for child in net.west.children] == [ChildState.INSTALLED] * 2


def test_each_has_the_connection_of_its_own_traffic_though_another_one_is_wide_enough() -> None:
    net = Network(
        west={"local": replace(WEST_END, selectors=selectors(WIDE)), "clones": 0},
        east={"remote": replace(WEST_END, selectors=selectors(FIRST)), "clones": 0},
    )
    ends = replace(WEST_END, selectors=selectors(("192.0.3.0/24",)))
    net.west.endpoint.add(replace(net.west.conn, name=OTHER, local=ends), net.now)
    net.east.endpoint.add(replace(net.east.conn, name=OTHER, remote=ends), net.now)
    net.east.up()
    net.run(2)
    net.east.endpoint.tunnels[OTHER].up(net.now)
    net.settle(net.east)
    net.run(3)
    for side in net.sides:
        assert [len(side.endpoint.tunnels[name].clones.children) for name in (NAME, OTHER)] == [1, 1]
        assert len(list(side.endpoint.ike_sas())) == 1


def test_a_clone_for_less_than_the_fallback_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that does not look at what the others are for."""
    net = Network().established()
    monkeypatch.setattr(Clones, "has_same_traffic", lambda *_: True)
    (fallback,) = net.east.children
    narrower = replace(net.east.conn.remote, selectors=selectors(PART))
    net.east.endpoint.tunnels[NAME].connection = replace(net.east.conn, remote=narrower)
    net.hold()
    net.west.packet(0)
    net.east.take()
    monkeypatch.undo()
    net.release()
    net.run(3)
    assert "narrows the selectors" in net.west.kinds(Kind.REFUSED)[0].text
    assert [side.children for side in net.sides] == [[c] for c in (net.west.children[0], fallback)]
    assert ike_sa(net.west).children.keys() == {net.west.children[0].inbound_spi}
    net.assert_consistent()
