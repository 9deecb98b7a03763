"""Which connection a Child SA is for, by its traffic; and that a clone has the traffic of its fallback."""

from __future__ import annotations

from dataclasses import replace

from ikeclone.ike.actions import Kind
from ikeclone.ike.child import ChildState
from tests.pair.network import NAME, WEST_END, Network
from tests.pair.scenario import ike_sa
from tests.pair.several import FIRST, OTHER, PART, WIDE, selectors, two_for_one


def test_an_equal_one_is_taken() -> None:
    net = two_for_one(FIRST, FIRST)
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


def test_a_clone_for_less_than_the_fallback_is_not_kept() -> None:
    """A peer that takes less for a clone than it took for the fallback."""
    net = Network().established()
    (fallback,) = net.east.children
    narrower = replace(net.east.conn.remote, selectors=selectors(PART))
    net.east.endpoint.tunnels[NAME].connection = replace(net.east.conn, remote=narrower)
    net.west.packet(0)
    net.run(3)
    assert "narrows the selectors" in net.west.kinds(Kind.REFUSED)[0].text
    assert [side.children for side in net.sides] == [[c] for c in (net.west.children[0], fallback)]
    assert ike_sa(net.west).children.keys() == {net.west.children[0].inbound_spi}
    assert net.east.endpoint.tunnels.keys() == {NAME}
    net.assert_consistent()
