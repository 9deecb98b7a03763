"""Name servers of peers: what the resolver is told, and when."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from importlib.metadata import EntryPoint
from ipaddress import ip_address, ip_network

import pytest

from ikeclone import naming
from ikeclone.backend import Handling, Interface, TrafficSelector
from ikeclone.ike.actions import ActivateChild, InstallChild, Route, Unroute
from ikeclone.naming import Naming
from ikeclone.resolver import GROUP, Names, Way
from tests.pair.network import NAME, Network
from tests.unit.test_changes import POLICY, SA

SERVER, INSIDE = ip_address("192.0.2.53"), ip_address("10.3.0.1")
NAMES = Names(NAME, (SERVER,), ("lab",), INSIDE)


class Notebook:
    """A resolver that writes down what it is told; while `held`, it does not come back."""

    told: list[tuple[Names, ...]]
    held: asyncio.Event

    async def use(self, names: tuple[Names, ...]) -> None:
        self.told.append(names)
        await self.held.wait()


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("resolvconf", f"{__name__}:Notebook", GROUP)
    monkeypatch.setattr(naming, "entry_points", lambda group, name: [entry] if name == entry.name else [])
    monkeypatch.setattr(Notebook, "told", [], raising=False)
    held = asyncio.Event()
    held.set()
    monkeypatch.setattr(Notebook, "held", held, raising=False)


def given(**settings: object) -> Network:
    """A connection whose peer has given it an address and name servers."""
    network = Network(west=settings)
    irac = network.west.endpoint.tunnels[NAME].irac
    irac.addresses, irac.dns, irac.domains = (INSIDE,), (SERVER,), ("lab",)
    return network


def keeper(network: Network, way: Way = Way.RESOLVCONF) -> Naming:
    return Naming(network.west.endpoint.tunnels, way)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_they_are_used_from_the_first_child_sa_to_the_end_of_the_addresses() -> None:
    kept = keeper(given())
    kept.start()
    await settle()
    assert Notebook.told == [()]  # whatever there was from a daemon before
    rekeyed = replace(SA, inbound_spi=0x1001)
    held = replace(POLICY, addresses=(INSIDE,))
    for action in (Route(held), InstallChild(SA), ActivateChild(SA.inbound_spi), InstallChild(rekeyed), Route(held)):
        kept.told(action)
        await settle()
    assert Notebook.told == [(), (NAMES,)]
    kept.told(Route(POLICY))
    await settle()
    kept.told(InstallChild(SA))
    await settle()
    kept.told(Unroute(NAME))
    await settle()
    assert Notebook.told == [(), (NAMES,), (), (NAMES,), ()]
    await kept.stop()
    assert len(Notebook.told) == 5


async def test_with_all_traffic_in_the_tunnel_all_names_are() -> None:
    kept = keeper(given())
    kept.told(InstallChild(replace(SA, remote=(TrafficSelector.of(ip_network("0.0.0.0/0")),))))
    await settle()
    assert Notebook.told == [(replace(NAMES, domains=()),)]
    await kept.stop()


async def test_the_end_undoes_all_of_it_and_waits_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "LAST", 0.01)
    kept = keeper(given(handling=Handling(interface=Interface(7))))
    kept.told(InstallChild(SA))
    await settle()
    await kept.stop()
    assert Notebook.told == [(replace(NAMES, device="ipsec7"),), ()]
    kept = keeper(given())
    Notebook.held.clear()
    kept.told(InstallChild(SA))
    await settle()
    await kept.stop()
    assert Notebook.told[2:] == [(NAMES,)]


async def test_what_comes_and_goes_while_the_resolver_works_is_left_out() -> None:
    kept = keeper(given())
    Notebook.held.clear()
    kept.start()
    await settle()
    for _ in range(100):
        kept.told(InstallChild(SA))
        kept.told(Unroute(NAME))
    kept.told(InstallChild(SA))
    Notebook.held.set()
    await settle()
    assert Notebook.told == [(), (NAMES,)]
    await kept.stop()


async def test_those_that_are_not_wanted_or_not_there() -> None:
    network = given()
    network.west.endpoint.tunnels[NAME].irac.dns = ()
    for each in (given(ignore_peer_dns=True), network):
        kept = keeper(each)
        kept.told(InstallChild(SA))
        kept.told(InstallChild(replace(SA, connection="gone")))
        await kept.stop()
    assert Notebook.told == [(), ()]


async def test_no_resolver(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for way in (Way.NO, Way.SYSTEMD):
            kept = keeper(given(), way)
            kept.start()
            kept.told(InstallChild(SA))
            await kept.stop()
    assert Notebook.told == []
    assert caplog.messages == ["dns-resolver=systemd is not done: no plugin for it is installed"]
