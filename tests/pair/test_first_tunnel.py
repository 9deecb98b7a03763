"""Up, clones, rekey and down between two endpoints."""

from __future__ import annotations

import pytest

from ikeclone.ike.actions import Kind
from tests.pair.network import NAME, Network


@pytest.fixture
def net() -> Network:
    return Network()


def test_up_makes_one_unbound_sa(net: Network) -> None:
    net.established()
    for side in net.sides:
        (fallback,) = side.children
        assert (fallback.name, fallback.cpu, fallback.active) == (f"{NAME}-0", None, True)
    net.assert_consistent()


def test_traffic_opens_a_clone_for_its_cpu(net: Network) -> None:
    net.established()
    for cpu in (0, 1):
        assert net.west.packet(cpu)
        net.run(2)
    assert [(c.name, c.cpu) for c in net.west.children] == [(f"{NAME}-0", None), (f"{NAME}-1", 0), (f"{NAME}-2", 1)]
    assert sorted(c.cpu for c in net.east.children if c.cpu is not None) == [0, 1]
    net.assert_consistent()
    assert net.lost_packets == []
