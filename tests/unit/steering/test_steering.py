"""The steering on devices of a network namespace."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path as FilePath
from typing import Any

import pytest

from ikeclone.bpf import Program, ProgramType
from ikeclone.steering import Arrival, Choice, Path, Settings, SteeringError
from ikeclone_steering import journal, links
from ikeclone_steering.links import Link, Links
from ikeclone_steering.steering import KernelSteering
from ikeclone_steering.xdp import Table
from tests.dataplane.netns import Namespace, connect

pytestmark = pytest.mark.root

PATH = Path(ip_address("198.51.100.1"), ip_address("198.51.100.2"))
ARRIVAL = Arrival(0x1000, 0, PATH, False)
_SO_NO_CHECK = 11
AUTO, XDP = Settings(), Settings(Choice.XDP)
PASSING = bytes.fromhex("b700000002000000 9500000000000000")


@pytest.fixture
def here(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> Iterator[Namespace]:
    monkeypatch.setattr(journal, "DIRECTORY", tmp_path)
    left, right = Namespace(), Namespace()
    try:
        connect(left, right, [("198.51.100.1/24", "198.51.100.2/24")])
        yield left
    finally:
        left.close()
        right.close()


@pytest.fixture
def steering(here: Namespace) -> Iterator[KernelSteering]:
    steering = KernelSteering(XDP)
    here.call(steering.start())
    yield steering
    here.call(steering.stop())


def xdp(namespace: Namespace, device: str = "eth0") -> Any:
    """What `ip link` says of a device's XDP program."""
    return json.loads(namespace.run("ip", "-j", "-d", "link", "show", device))[0].get("xdp")


def test_the_program_is_on_the_way_to_the_peer_from_the_first_clone_until_the_end(here: Namespace) -> None:
    steering = KernelSteering(XDP)
    here.call(steering.start())
    assert xdp(here) is None
    here.call(steering.steer(ARRIVAL))
    here.call(steering.steer(replace(ARRIVAL, spi=0x2000)))
    assert xdp(here)["mode"] == 1  # in the driver
    assert xdp(here)["prog"]["name"] == "ikeclone_steer"
    assert steering.describe() == {
        "receive steering": "XDP (native) on eth0, by SPI to the CPU of its clone: 2 SPIs",
    }
    here.call(steering.release(0x1000))
    here.call(steering.release(0x1000))
    assert "1 SPIs" in steering.describe()["receive steering"]
    here.call(steering.stop())
    assert xdp(here) is None


def test_a_device_whose_driver_has_no_xdp_gets_the_program_before_the_protocols(here: Namespace) -> None:
    here.run("ip", "link", "add", "br0", "type", "bridge")
    here.run("ip", "link", "set", "br0", "up")
    here.run("ip", "route", "add", "203.0.113.0/24", "dev", "br0")
    steering = KernelSteering(XDP)
    here.call(steering.start())
    here.call(steering.steer(replace(ARRIVAL, path=replace(PATH, remote=ip_address("203.0.113.1")))))
    assert "XDP (generic) on br0" in steering.describe()["receive steering"]
    assert xdp(here, "br0")["mode"] == 2
    here.call(steering.stop())
    assert xdp(here, "br0") is None


def test_what_a_daemon_that_crashed_has_left_is_taken_away(here: Namespace) -> None:
    async def crash() -> None:
        links, table = Links(), Table()
        await links.attach(await links.towards(PATH), table.programs)
        links.close()
        table.close()

    here.call(crash())
    assert xdp(here)["prog"]["name"] == "ikeclone_steer"
    steering = KernelSteering(XDP)
    here.call(steering.start())
    assert xdp(here) is None
    here.call(steering.stop())


def test_the_program_of_somebody_else_stays(here: Namespace, steering: KernelSteering) -> None:
    async def attach() -> int:
        links, program = Links(), Program(ProgramType.XDP, PASSING, "somebody")
        link = await links.towards(PATH)
        await links.attach(link, {"native": program})
        program.close()
        attached = await links.get(link.index)
        links.close()
        assert attached.program is not None
        return attached.program

    theirs = here.call(attach())
    here.call(steering.steer(ARRIVAL))
    survey = here.call(KernelSteering(AUTO).survey())
    assert "XDP: it has another XDP program: somebody" in survey[0].text
    reason = "none on eth0 (not XDP: it has another XDP program: somebody)"
    assert steering.describe() == {"receive steering": reason}
    here.call(steering.stop())
    assert xdp(here)["prog"]["id"] == theirs


def test_a_peer_without_a_route_is_an_error_that_says_so(here: Namespace, steering: KernelSteering) -> None:
    with pytest.raises(SteeringError, match=r"no route to 203\.0\.113\.1"):
        here.call(steering.steer(replace(ARRIVAL, path=replace(PATH, remote=ip_address("203.0.113.1")))))


def test_the_loopback_device_is_left_alone(here: Namespace, steering: KernelSteering) -> None:
    here.call(steering.steer(replace(ARRIVAL, path=replace(PATH, remote=PATH.local))))
    assert "none on lo" in steering.describe()["receive steering"]


def test_a_survey_leaves_every_device_as_it_is(here: Namespace) -> None:
    here.run("ip", "link", "add", "br0", "type", "bridge")
    found = here.call(KernelSteering(XDP).survey())
    assert sorted(each.device for each in found) == ["br0", "eth0"]
    for each in found:
        assert each.works
        assert each.text.startswith("XDP, in the driver if that can")
        assert "rules of the card: it takes none (Operation not supported)" in each.text
        assert "MTU 1500" in each.text
    assert xdp(here) is None


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_packets_that_go_to_another_cpu_arrive(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    async def only(link: Link) -> list[str]:
        return [mode]

    monkeypatch.setattr(links, "_modes", only)
    left, right = Namespace(), Namespace()
    connect(left, right, [("198.51.100.1/24", "198.51.100.2/24")])
    steering = KernelSteering(XDP)
    left.call(steering.start())
    left.call(steering.steer(replace(ARRIVAL, cpu=max(os.sched_getaffinity(0)))))
    assert f"XDP ({mode})" in steering.describe()["receive steering"]

    async def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)  # as of ESP in UDP (RFC 3948 section 2.1)
            sock.sendto(struct.pack(">II", ARRIVAL.spi, 1) + bytes(1000), (str(PATH.local), 4500))

    async def receive() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((str(PATH.local), 4500))
            await asyncio.to_thread(right.call, send())
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 2000), 30)

    assert len(left.call(receive())) == 1008
    left.call(steering.stop())
    left.close()
    right.close()


def test_an_spi_is_steered_where_its_peer_is_reached_now(here: Namespace, steering: KernelSteering) -> None:
    here.run("ip", "link", "add", "br0", "type", "bridge")
    here.run("ip", "link", "set", "br0", "up")
    here.call(steering.steer(ARRIVAL))
    here.run("ip", "route", "add", "198.51.100.2/32", "dev", "br0")
    here.call(steering.refresh())
    said = steering.describe()["receive steering"]
    assert said == "none on eth0; XDP (generic) on br0, by SPI to the CPU of its clone: 1 SPIs"
    here.run("ip", "link", "del", "br0")
    here.call(steering.refresh())
    assert steering.describe()["receive steering"] == "XDP (native) on eth0, by SPI to the CPU of its clone: 1 SPIs"
    here.run("ip", "link", "set", "eth0", "down")
    here.call(steering.refresh())
    here.call(steering.release(ARRIVAL.spi))
    here.run("ip", "link", "set", "eth0", "up")
    here.call(steering.refresh())
    assert steering.describe()["receive steering"] == "none on eth0"


def test_devices_of_networks_behind_are_taken_as_they_come(here: Namespace) -> None:
    steering = KernelSteering(Settings(inside=("eth0", "br0")))
    here.call(steering.start())
    over = f"by addresses and ports over {len(os.sched_getaffinity(0))} CPUs"
    said = f"XDP (native) on eth0, {over}"
    assert steering.describe()["transmit steering"] == f"{said}; none on br0: there is no such device"
    assert xdp(here)["prog"]["name"] == "ikeclone_inside"
    here.run("ip", "link", "add", "br0", "type", "bridge")
    here.call(steering.refresh())
    assert steering.describe()["transmit steering"] == f"{said}; XDP (generic) on br0, {over}"
    here.call(steering.steer(ARRIVAL))
    assert "XDP: it has another XDP program: ours, for the other way" in steering.describe()["receive steering"]
    here.call(steering.stop())
    assert xdp(here) is xdp(here, "br0") is None
    assert list(journal.DIRECTORY.iterdir()) == []


def test_a_program_that_the_verifier_refuses_is_an_error_with_its_reason() -> None:
    exits_without_an_answer = bytes.fromhex("9500000000000000")
    with pytest.raises(OSError, match=r"Permission denied \(the verifier: R0 !read_ok\)"):
        Program(ProgramType.XDP, exits_without_an_answer, "refused")
