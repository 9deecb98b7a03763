"""Several Child SAs of one connection, with other traffic each: what the parts of it do, and what ends them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.backend import Counters, Handling
from ikeclone.connection import Auto, End, Secret, Timing
from ikeclone.credentials import Credentials
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.reports import View
from tests.pair.network import EAST_END, NAME, WEST_END, Network
from tests.pair.scenario import MULTI_KE
from tests.pair.several import (
    FIRST,
    OTHER,
    PART,
    SECOND,
    WIDE,
    agree,
    carried,
    established,
    ping,
    selectors,
    two_for_one,
)
from tests.pair.test_sharing import act, tunnel

FIRST_PART, SECOND_PART = f"{NAME}[1]", f"{NAME}[2]"
BOTH = {NAME: list(FIRST), FIRST_PART: list(SECOND)}
TIMING = Timing(margin=60, dpd_delay=10, retransmit_timeout=15)


@pytest.mark.parametrize(("first", "second"), [(FIRST, SECOND), (FIRST, PART), (WIDE, FIRST), (PART, FIRST)])
def test_disjoint_narrower_and_wider_ones_have_a_part(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    net = two_for_one(first, second)
    assert carried(net.west) == {NAME: list(first), FIRST_PART: list(second)}
    assert len(established(net.west)) == len(established(net.east)) == 1
    agree(net)
    ping(net)


@pytest.mark.parametrize("of", ["west", "east"])
@pytest.mark.parametrize("ike", [False, True])
def test_rekeys_leave_each_its_traffic(of: str, ike: bool) -> None:
    net = two_for_one()
    before = set(net.west.backend.installed)
    for name in (NAME, FIRST_PART) if of == "west" else (NAME, OTHER):
        act(getattr(net, of), "rekey", name, ike)
    assert carried(net.west) == BOTH
    assert before.isdisjoint(net.west.backend.installed) is not ike
    agree(net)
    ping(net)


def test_a_rekey_of_the_connection_rekeys_its_parts() -> None:
    net = two_for_one()
    before = set(net.west.backend.installed)
    assert tunnel(net.west, NAME).rekey(net.now, False) == 2
    net.settle(net.west)
    net.run(3)
    assert before.isdisjoint(net.west.backend.installed)
    assert carried(net.west) == BOTH


def test_parts_are_rekeyed_in_time() -> None:
    net = two_for_one(timing=replace(TIMING, child_lifetime=300))
    before = set(net.west.backend.installed)
    net.run(600)
    assert before.isdisjoint(net.west.backend.installed)
    assert carried(net.west) == BOTH
    agree(net)


@pytest.mark.parametrize("of", ["west", "east"])
def test_reauthentication_renews_the_parts(of: str) -> None:
    net = two_for_one(timing=TIMING)
    before, (old,) = set(net.west.backend.installed), established(net.west)
    tunnel(getattr(net, of), NAME).rekey(net.now, False, reauth=True)
    net.settle(getattr(net, of))
    ping(net, 150)
    net.run(60)
    assert before.isdisjoint(net.west.backend.installed)
    (new,) = established(net.west)
    assert new is not old
    assert carried(net.west) == BOTH
    assert tunnel(net.west, FIRST_PART).ike is new
    agree(net)


def test_clones_of_a_part_are_its_own() -> None:
    net = two_for_one(clones=2)
    for cpu in (0, 1):
        net.west.endpoint.acquire(FIRST_PART, cpu, net.now)
        net.settle(net.west)
        net.run(3)
    net.east.endpoint.acquire(NAME, 0, net.now)
    net.settle(net.east)
    net.run(3)
    names = sorted(child.name for each in net.west.endpoint.tunnels.values() for child in each.clones)
    assert names == [*(f"{NAME}-{i}" for i in (0, 1)), *(f"{FIRST_PART}-{i}" for i in (0, 1, 2))]
    agree(net)
    ping(net)


@pytest.mark.parametrize("auto", [Auto.ADD, Auto.START])
def test_it_is_wanted_until_the_peer_has_taken_down_the_last_part_or_for_ever(auto: Auto) -> None:
    net = two_for_one()
    whole = tunnel(net.west, NAME)
    whole.wanted, whole.connection = True, replace(whole.connection, auto=auto)
    for name, left in ((OTHER, True), (NAME, auto is Auto.START)):
        act(net.east, "down", name)
        assert tunnel(net.west, NAME).wanted is left


def test_one_that_the_peer_takes_down_ends_and_its_name_is_free() -> None:
    net = two_for_one()
    act(net.east, "down", OTHER)
    assert carried(net.west) == {NAME: list(FIRST)}
    assert net.west.backend.policies.keys() == net.west.endpoint.tunnels.keys() == {NAME}
    assert net.west.kinds(Kind.IKE_DOWN)[-1].connection == FIRST_PART
    act(net.east, "up", OTHER)
    assert carried(net.west) == BOTH
    act(net.east, "down", NAME)
    assert carried(net.west) == {FIRST_PART: list(SECOND)}
    agree(net)
    ping(net)


def test_the_connection_goes_down_with_all_its_parts() -> None:
    net = two_for_one()
    act(net.west, "down", NAME)
    assert net.west.endpoint.tunnels.keys() == {NAME}
    assert not net.west.backend.policies
    assert not net.west.backend.installed
    assert not net.east.backend.installed
    assert not established(net.west)


def test_it_leaves_the_ike_sa_to_another_connection() -> None:
    net = two_for_one()
    end = replace(WEST_END, selectors=selectors(("192.0.5.0/24",)))
    net.west.endpoint.add(replace(net.west.conn, name="third", local=end), net.now)
    net.east.endpoint.add(replace(net.east.conn, name="third", remote=end), net.now)
    act(net.west, "up", "third")
    assert len(established(net.west)) == 1
    act(net.west, "down", NAME)
    assert carried(net.west) == {"third": ["192.0.5.0/24"]}
    assert net.west.endpoint.tunnels.keys() == {NAME, "third"}
    agree(net)


def test_a_part_goes_down_alone_and_the_ike_sa_with_the_last() -> None:
    net = two_for_one()
    act(net.west, "down", FIRST_PART)
    assert carried(net.west) == {NAME: list(FIRST)}
    act(net.east, "up", OTHER)
    act(net.east, "down", NAME)
    act(net.west, "down", FIRST_PART)
    assert not established(net.west)
    assert net.west.endpoint.tunnels.keys() == {NAME}


def test_a_dead_peer_takes_the_parts_with_it() -> None:
    net = two_for_one(timing=TIMING)
    net.link.cut = True
    net.run(60)
    assert net.west.endpoint.tunnels.keys() == {NAME}
    assert not net.west.backend.policies
    assert not net.west.backend.installed
    net.link.cut = False
    net.run(120)
    assert sorted(carried(net.west).values()) == [list(FIRST), list(SECOND)]
    agree(net)


def test_there_are_not_too_many() -> None:
    net = two_for_one()
    net.west.endpoint.host.settings = Settings(regular_limit=2)
    third = replace(WEST_END, selectors=selectors(PART))
    net.east.endpoint.add(replace(net.east.conn, name="third", remote=third), net.now)
    ask_on_this_ike_sa(net, "third")
    net.run(3)
    assert any("NO_ADDITIONAL_SAS" in report.text for report in net.east.kinds(Kind.FAILED))
    assert carried(net.west) == BOTH
    agree(net)


def ask_on_this_ike_sa(net: Network, name: str) -> None:
    """East brings a connection up, and does not try an IKE SA of its own if that is refused."""
    tunnel(net.east, name).up(net.now)
    tunnel(net.east, name).approach._alone = True
    net.settle(net.east)


@pytest.mark.parametrize("full", [False, True])
def test_it_may_take_several_key_exchanges(full: bool) -> None:
    net = two_for_one(**MULTI_KE)
    assert carried(net.west) == BOTH
    act(net.east, "down", OTHER)
    net.hold()
    ask_on_this_ike_sa(net, OTHER)
    net.west.take()
    if full:
        net.west.endpoint.host.settings = Settings(regular_limit=1)
    net.release()
    net.run(3)
    assert carried(net.west) == ({NAME: list(FIRST)} if full else BOTH)
    agree(net)


def test_each_peer_of_a_template_has_its_parts() -> None:
    anyone = End(None, None, EAST_END.selectors)
    net = Network(
        west={"local": replace(WEST_END, selectors=selectors(WIDE)), "remote": anyone},
        east={"remote": replace(WEST_END, selectors=selectors(FIRST))},
    )
    net.west.endpoint.credentials = Credentials((Secret((), b"anyone"),))
    net.east.endpoint.credentials = net.west.endpoint.credentials
    remote = replace(WEST_END, selectors=selectors(SECOND))
    net.east.endpoint.add(replace(net.east.conn, name=OTHER, remote=remote), net.now)
    for name in (NAME, OTHER):
        act(net.east, "up", name)
    assert carried(net.west) == {f"{NAME}[1]": list(FIRST), f"{NAME}[1][1]": list(SECOND)}
    agree(net)
    ping(net)
    act(net.west, "rekey", f"{NAME}[1]", False)
    net.run(30)
    agree(net)
    act(net.west, "down", f"{NAME}[1]")
    assert net.west.endpoint.tunnels.keys() == {NAME}
    assert net.west.endpoint.host.timers.owners() == ()


def test_a_part_goes_before_its_connection_whatever_number_that_has() -> None:
    net = two_for_one(handling=Handling(priority=2000))
    found = {name: policy.handling.priority for name, policy in net.west.backend.policies.items()}
    assert found == {NAME: 2000, FIRST_PART: 1999}


def test_reports_show_a_part_with_its_connection() -> None:
    net = two_for_one()
    view = View(net.west.endpoint, dict.fromkeys(net.west.backend.installed, Counters(in_packets=3)), net.now, 0.0)
    assert [row.name for row in view.traffic(NAME).rows] == [NAME, FIRST_PART]
    assert [row.name for row in view.traffic(FIRST_PART).rows] == [FIRST_PART]
    assert [row.name for row in view.traffic(None).rows] == [NAME, FIRST_PART]
    rows = view.connections()
    assert [(row.name, row.state, row.local_selectors) for row in rows] == [
        (NAME, "up", list(WIDE)),
        (FIRST_PART, "up", list(SECOND)),
    ]
    assert FIRST_PART in tunnel(net.west, NAME).parts
    assert SECOND_PART not in tunnel(net.west, NAME).parts


def test_the_data_plane_knows_what_is_a_part_of_what() -> None:
    net = two_for_one(PART, FIRST)
    wholes = {sa.connection: sa.whole for sa in net.west.backend.installed.values()}
    assert wholes == {NAME: None, FIRST_PART: NAME}
    assert {name: policy.whole for name, policy in net.west.backend.policies.items()} == wholes
