"""What resolvectl and resolvconf are told; both are scripts here that write it down."""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from ikeclone.resolver import IPAddress, Names, Resolver
from ikeclone_updown import Resolvconf, Resolved, resolvers

Told = Callable[[], list[str]]

SERVERS = ip_address("192.0.2.53"), ip_address("2001:db8:b::53")
INSIDE = ip_address("10.3.0.1")
ROAD = Names("road", SERVERS, ("example.org", "lab"), INSIDE, "ipsec7")
ALL = Names("all", (ip_address("198.51.100.53"), SERVERS[0]), (), ip_address("10.4.0.1"))


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """The lines of what the commands were told since the last time."""
    record = tmp_path / "record"
    record.touch()
    for command in ("resolvectl", "resolvconf"):
        script = tmp_path / command
        script.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >>{record}\ncat >>{record}\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def told() -> list[str]:
        lines = record.read_text().splitlines()
        record.write_text("")
        return lines

    return told


@pytest.fixture(autouse=True)
def devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which devices there are, and which has an address."""
    monkeypatch.setattr(resolvers, "if_nameindex", lambda: [(1, "lo"), (2, "ikeclone0"), (3, "ipsec7")])

    async def device_of(address: IPAddress) -> str | None:
        return {"10.4.0.1": "ikeclone0", "10.5.0.1": "lo"}.get(str(address))

    monkeypatch.setattr(resolvers, "device_of", device_of)


async def test_resolvconf_has_one_record_of_all(told: Told) -> None:
    resolver: Resolver = Resolvconf()
    await resolver.use((ROAD, ALL))
    assert told() == [
        "resolvconf -a ikeclone.ipsec",
        "nameserver 192.0.2.53",
        "nameserver 2001:db8:b::53",
        "nameserver 198.51.100.53",
        "search example.org lab",
    ]
    await resolver.use((ALL,))
    assert told() == ["resolvconf -a ikeclone.ipsec", "nameserver 198.51.100.53", "nameserver 192.0.2.53"]
    await resolver.use(())
    assert told() == ["resolvconf -d ikeclone.ipsec"]


async def test_systemd_has_those_of_each_device(told: Told) -> None:
    resolver: Resolver = Resolved()
    await resolver.use(())
    assert told() == []
    await resolver.use((ROAD, ALL))
    assert told() == [
        "resolvectl dns ipsec7 192.0.2.53 2001:db8:b::53",
        "resolvectl domain ipsec7 example.org lab",
        "resolvectl default-route ipsec7 no",
        "resolvectl dns ikeclone0 198.51.100.53 192.0.2.53",
        "resolvectl domain ikeclone0 ~.",
        "resolvectl default-route ikeclone0 yes",
    ]
    await resolver.use((ROAD,))
    assert told()[0] == "resolvectl revert ikeclone0"


async def test_a_device_that_is_gone_has_taken_them_along(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolved()
    await resolver.use((ROAD,))
    told()
    monkeypatch.setattr(resolvers, "if_nameindex", lambda: [(1, "lo")])
    await resolver.use(())
    assert told() == []


@pytest.mark.parametrize("address", ["10.5.0.1", "10.6.0.1"])
async def test_the_loopback_device_has_no_servers(told: Told, address: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await Resolved().use((Names("road", SERVERS, (), ip_address(address)),))
    assert caplog.messages == ["road: dns-resolver=systemd needs a device of the tunnel: see ipsec-interface="]
    assert told() == []


async def test_a_resolver_that_is_not_there(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with caplog.at_level(logging.WARNING):
        await Resolvconf().use((ROAD,))
    assert caplog.messages == ["resolvconf -a: resolvconf cannot be run: No such file or directory"]
