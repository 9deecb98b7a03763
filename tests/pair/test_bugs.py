"""An exception inside one IKE SA, timer or request harms nobody else."""

from __future__ import annotations

import pytest

from ikeclone.connection import Timing
from ikeclone.ike.state import State
from tests.pair.network import NAME, Network
from tests.pair.scenario import assert_nothing_left, failure


@pytest.fixture
def no_bug() -> None:
    """Bugs are what some of these are about."""


def explode(*_: object) -> None:
    raise ZeroDivisionError


def test_a_bug_in_one_ike_sa_ends_only_that_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network().established()
    ike = net.east.ike
    assert ike is not None

    monkeypatch.setattr(ike.incoming, "_handle", explode)
    net.west.rekey()
    net.run(1)
    assert "internal error" in caplog.text
    assert ike.state is State.DEAD
    net.west.start()
    net.west.up()
    net.run(5)
    net.assert_consistent()


def test_a_bug_in_a_timer_ends_only_its_ike_sa(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network(west={"timing": Timing(dpd_delay=5)}).established()
    ike = net.west.ike
    assert ike is not None

    monkeypatch.setattr(ike, "enqueue", explode)
    net.run(30)
    assert "internal error" in caplog.text
    assert ike.state is State.DEAD
    assert [len(side.children) for side in net.sides] == [1, 1]
    net.assert_consistent()


def test_a_bug_in_what_a_stranger_asks_for_harms_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network()
    monkeypatch.setattr("ikeclone.ike.reception.respond_init", explode)
    net.west.up()
    net.run(1)
    assert "first request from 192.1.2.45: internal error" in caplog.text
    assert net.east.endpoint.counters["internal error"] == 2
    assert not list(net.east.endpoint.ike_sas())
    monkeypatch.undo()
    net.run(5)
    net.assert_consistent()
    assert net.west.children


@pytest.mark.parametrize("where", ["ikeclone.ike.init.Initiation.take", "ikeclone.ike.approach.Authenticate"])
def test_a_bug_while_asking_ends_the_attempt(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before there is an IKE SA, and when it has just been made."""
    net = Network()
    monkeypatch.setattr(where, explode)
    net.west.up()
    net.run(1)
    assert "internal error" in caplog.text
    assert "internal error" in failure(net.west)
    assert_nothing_left(net)


def test_a_bug_after_the_end_of_an_ike_sa(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It has answered the peer's delete, and lingers to repeat that."""
    net = Network().established().hold()
    ike = net.east.ike
    assert ike is not None
    net.west.down()
    monkeypatch.setattr(ike.requests, "pump", explode)
    net.east.take()
    assert "internal error" in caplog.text
    assert ike.state is State.DEAD
    net.release()
    assert_nothing_left(net)


def test_a_bug_in_a_timer_of_a_connection_leaves_its_ike_sa(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net = Network().established()
    tunnel = net.west.endpoint.tunnels[NAME]
    monkeypatch.setattr(tunnel.openings, "open_fallback", explode)
    tunnel.openings.replace_fallback(net.now, 1.0)
    net.run(5)
    assert "timer of Tunnel: internal error" in caplog.text
    assert [len(side.children) for side in net.sides] == [1, 1]
    net.assert_consistent()
