"""What `ikeclone clones NAME` shows at each stage of a group's life."""

from __future__ import annotations

import pytest

from ikeclone.control.models import CloneRow, ClonesReport
from ikeclone.errors import LocalError
from ikeclone.ike.host import Settings
from ikeclone.reports import View
from tests.pair.groups import traffic, traffic_until_quiet
from tests.pair.network import NAME, Network, Side

PER_CPU = {"clones": None}


def report(side: Side) -> ClonesReport:
    return View(side.endpoint, side.backend.counted, side.network.now, 0.0).clones(NAME)


def by_cpu(side: Side) -> dict[int | None, CloneRow]:
    return {row.cpu: row for row in report(side).rows}


def test_a_row_for_every_cpu_from_the_fallback_to_its_clone() -> None:
    net = Network(cpus=(3, 3), west=PER_CPU, east=PER_CPU, settings=Settings(window=1)).established()
    rows = by_cpu(net.west)
    assert list(rows) == [None, 0, 1, 2]
    assert [rows[cpu].state for cpu in (0, 1, 2)] == ["fallback"] * 3
    net.west.packet(0)
    net.west.packet(1)
    states = {cpu: row.state for cpu, row in by_cpu(net.west).items()}
    assert states == {None: "installed", 0: "negotiating", 1: "waiting for the peer's window", 2: "fallback"}
    net.run(3)
    for _ in range(2):
        traffic(net, net.west)
        net.run(1)
    rows = by_cpu(net.west)
    assert [rows[cpu].over_fallback for cpu in (0, 1, 2)] == [1, 1, 1]
    assert [rows[cpu].out_packets for cpu in (None, 0, 1, 2)] == [3, 2, 2, 1]
    assert {row.opened_by for row in rows.values()} == {"us"}
    assert {row.opened_by for row in report(net.east).rows} == {"peer"}
    assert all(row.last_used == pytest.approx(1.0, abs=0.1) for row in rows.values() if row.cpu is not None)


def test_who_opened_it_outlives_a_rekey_by_the_other_side() -> None:
    net = Network(west=PER_CPU, east=PER_CPU).established()
    traffic(net, net.west)
    net.run(3)
    net.east.rekey()
    net.run(3)
    assert {row.opened_by for row in report(net.west).rows} == {"us"}
    assert {row.opened_by for row in report(net.east).rows} == {"peer"}


def test_refusals_and_the_wait_after_them() -> None:
    net = Network(cpus=(8, 1), west=PER_CPU, east={"clones": 1}).established()
    assert (report(net.west).refused, report(net.west).refusals) == (False, 0)
    traffic_until_quiet(net, quiet=5)
    shown = report(net.west)
    assert (shown.refused, shown.refusal, shown.refusals) == (True, "TS_MAX_QUEUE", 6)
    assert shown.retry_in is not None
    assert 0 < shown.retry_in <= 60
    unserved = [row for row in shown.rows if row.state == "fallback"]
    assert len(unserved) == 6
    assert all(row.over_fallback >= 5 for row in unserved)


@pytest.mark.parametrize("command", ["up", "down"])
def test_an_instance_is_looked_at_only(command: str) -> None:
    net = Network(west=PER_CPU, east=PER_CPU).established()
    with pytest.raises(LocalError, match=f"{NAME}-1 is an instance of {NAME}: act on the connection"):
        getattr(net.west.endpoint.tunnel(f"{NAME}-1"), command)(net.now)
