"""What the updown commands are told of the state machine's actions."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from importlib.metadata import EntryPoint
from ipaddress import ip_address, ip_network

import pytest

from ikeclone import changes
from ikeclone.backend import Path, Policy, TrafficSelector
from ikeclone.changes import Changes
from ikeclone.ike.actions import InstallChild, MoveChild, RemoveChild, Route, Unroute
from ikeclone.updown import Change, Given, Verb
from tests.pair.network import EAST, NAME, WEST, WEST_END, Network
from tests.pair.several import two_for_one
from tests.unit.test_steered import CLONE

PATH = Path(WEST, EAST)
NETS = TrafficSelector.of(ip_network("192.0.1.0/24")), TrafficSelector.of(ip_network("192.0.2.0/24"))
POLICY = Policy(NAME, (NETS[0],), (NETS[1],), PATH)
SA = replace(CLONE, connection=NAME, cpu=None)
COMMAND = ("/etc/updown", "gw")


class Notebook:
    """An updown that writes down what it is told; while `held`, it does not come back."""

    told: list[Change]
    held: asyncio.Event

    async def run(self, change: Change) -> None:
        self.told.append(change)
        await self.held.wait()


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("notebook", f"{__name__}:Notebook", "ikeclone.updown")
    monkeypatch.setattr(changes, "entry_points", lambda group: [entry])
    monkeypatch.setattr(Notebook, "told", [], raising=False)
    held = asyncio.Event()
    held.set()
    monkeypatch.setattr(Notebook, "held", held, raising=False)


def keeper(command: tuple[str, ...] = COMMAND) -> Changes:
    network = Network(west={"local": replace(WEST_END, updown=command)})
    return Changes(network.west.endpoint.tunnels, "memory")


def verbs() -> list[Verb]:
    return [change.verb for change in Notebook.told]


async def test_the_first_child_sa_brings_it_up_and_the_last_takes_it_down() -> None:
    kept = keeper()
    rekeyed = replace(SA, inbound_spi=0x1001, replaces=SA.inbound_spi)
    for action in (
        Route(POLICY),
        InstallChild(SA),
        Route(replace(POLICY, path=replace(PATH, local_port=4500))),
        InstallChild(rekeyed),
        RemoveChild(SA.inbound_spi),
        RemoveChild(0x7777),
        RemoveChild(rekeyed.inbound_spi),
        Unroute(NAME),
        Unroute(NAME),
    ):
        kept.told(action)
        await asyncio.sleep(0)
    await kept.stop()
    assert verbs() == [Verb.ROUTE, Verb.UP, Verb.DOWN, Verb.UNROUTE]
    assert {change.policy for change in Notebook.told} == {POLICY}
    assert {(change.local_id, change.remote_id) for change in Notebook.told} == {("@west", "@east")}
    assert {(change.command, change.connection, change.data_plane) for change in Notebook.told} == {
        (COMMAND, NAME, "memory")
    }


async def test_what_configuration_payloads_gave_is_told_until_the_end() -> None:
    """The connection itself has forgotten it by then."""
    network = Network(west={"local": replace(WEST_END, updown=COMMAND, asks=True)})
    tunnels = network.west.endpoint.tunnels
    irac = tunnels[NAME].irac
    kept = Changes(tunnels, "memory")
    irac.dns, irac.domains = (ip_address("192.0.2.53"),), ("lab",)
    for action in (Route(POLICY), InstallChild(SA)):
        kept.told(action)
        await asyncio.sleep(0)
    irac.dns, irac.domains = (), ()
    await kept.stop()
    assert verbs() == [Verb.ROUTE, Verb.UP, Verb.DOWN, Verb.UNROUTE]
    assert {change.given for change in Notebook.told} == {
        Given(asks=True, dns=(ip_address("192.0.2.53"),), domains=("lab",))
    }


async def test_other_addresses_are_a_down_and_an_up() -> None:
    kept = keeper()
    elsewhere = replace(PATH, local=ip_address("198.51.100.1"))
    for action in (
        Route(POLICY),
        InstallChild(SA),
        MoveChild(SA.inbound_spi, replace(PATH, remote_port=4501), False),  # ports alone are no news
        MoveChild(SA.inbound_spi, elsewhere, False),
    ):
        kept.told(action)
        await asyncio.sleep(0)
    moved = [(change.verb, change.policy.path) for change in Notebook.told if change.roamed]
    assert moved == [(Verb.DOWN, PATH), (Verb.UP, elsewhere)]
    await kept.stop()
    assert Notebook.told[-1].policy.path == elsewhere


async def test_narrower_selectors_are_routed_anew() -> None:
    kept = keeper()
    narrow = replace(POLICY, remote=(TrafficSelector.of(ip_network("192.0.2.1/32")),))
    for action in (Route(POLICY), Route(narrow)):
        kept.told(action)
        await asyncio.sleep(0)
    await kept.stop()
    assert [(change.verb, change.policy) for change in Notebook.told] == [
        (Verb.ROUTE, POLICY),
        (Verb.UNROUTE, POLICY),
        (Verb.ROUTE, narrow),
        (Verb.UNROUTE, narrow),
    ]


async def test_what_comes_and_goes_while_a_command_runs_is_left_out() -> None:
    """However often a peer comes and goes, there is no more to do than what the last state asks for."""
    kept = keeper()
    Notebook.held.clear()
    kept.told(Route(POLICY))
    await asyncio.sleep(0)
    for number in range(100):
        kept.told(InstallChild(replace(SA, inbound_spi=number)))
        kept.told(RemoveChild(number))
    Notebook.held.set()
    await kept.stop()
    assert verbs() == [Verb.ROUTE, Verb.UNROUTE]


async def test_the_end_takes_everything_down_and_waits_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LAST", 0.01)
    kept = keeper()
    kept.told(Route(POLICY))
    kept.told(InstallChild(SA))
    await asyncio.sleep(0)
    Notebook.held.clear()
    await kept.stop()
    assert verbs()[0] is Verb.ROUTE


async def test_a_part_is_told_under_the_name_of_its_connection() -> None:
    network = two_for_one()
    part = network.west.endpoint.tunnels[f"{NAME}[1]"]
    part.connection = replace(part.connection, local=replace(part.connection.local, updown=COMMAND))
    kept = Changes(network.west.endpoint.tunnels, "memory")
    kept.told(Route(replace(POLICY, connection=f"{NAME}[1]")))
    await asyncio.sleep(0)
    await kept.stop()
    assert [(change.connection, change.policy.connection) for change in Notebook.told] == [(NAME, f"{NAME}[1]")] * 2


async def test_what_was_gone_before_it_could_be_done_is_not_told() -> None:
    kept = keeper()
    kept.told(Route(replace(POLICY, connection=f"{NAME}[1]")))
    kept.told(Unroute(f"{NAME}[1]"))
    await kept.stop()
    assert verbs() == []


async def test_without_a_command_nothing_is_told() -> None:
    kept = keeper(())
    kept.told(Route(POLICY))
    kept.told(InstallChild(SA))
    await kept.stop()
    assert Notebook.told == []


async def test_without_a_plugin_that_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(changes, "entry_points", lambda group: [])
    with caplog.at_level(logging.WARNING):
        keeper().told(Route(POLICY))
    assert caplog.messages == [f"{NAME}: leftupdown= is not run: no plugin for it is installed"]
