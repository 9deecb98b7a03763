"""A peer that offers an SPI on which it receives already: nothing is overwritten, on either side."""

from __future__ import annotations

import pytest

from tests.pair.network import Network, Side


def used_again(side: Side, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let a side's data plane give the SPI of its Child SA once more."""
    fresh, used = side.backend.allocate_spi, side.children[0].inbound_spi
    given = [used] * times
    side.backend.reserved.add(used)
    monkeypatch.setattr(side.backend, "allocate_spi", lambda cpu: given.pop() if given else fresh(cpu))


def test_an_initiators_spi_that_is_in_use_is_refused_and_its_next_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network(west={"clones": 0}, east={"clones": 0}).established()
    before = dict(net.east.backend.installed)
    used_again(net.west, monkeypatch, 1)
    net.west.rekey()
    net.run(0.5)
    assert net.east.backend.installed == before
    net.run(30)
    (child,) = net.east.children
    assert child.inbound_spi not in before
    assert child.active


def test_a_responders_spi_that_is_in_use_is_not_taken_and_its_sa_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Network(west={"clones": 0}, east={"clones": 0}).established()
    before = dict(net.west.backend.installed)
    used_again(net.east, monkeypatch, 1)
    net.west.rekey()
    net.run(0.5)
    assert net.west.backend.installed == before
    assert not net.west.backend.reserved
    assert len(net.west.children) == 1
    # The peer has mixed up the two itself; it is told which one goes.
    assert net.east.children == []


def test_hosts_may_use_the_same_numbers() -> None:
    net = Network()
    net.east.backend._spis = net.west.backend._spis
    net.established().west.rekey()
    net.run(5)
    net.assert_consistent()
