"""What the steering is told of the state machine's actions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint
from ipaddress import ip_address

import pytest

from ikeclone import steered
from ikeclone.backend import ChildSa, Encr, EspKeys, EspSuite, Integ
from ikeclone.ike.actions import ActivateChild, InstallChild, MoveChild, RemoveChild
from ikeclone.memory import MemoryBackend
from ikeclone.steered import Steered
from ikeclone.steering import Arrival, Choice, Path, Prospect, Settings, SteeringError

PATH = Path(ip_address("198.51.100.1"), ip_address("198.51.100.2"))
KEYS = EspKeys(bytes(20))
CLONE = ChildSa(
    "gw",
    1,
    0x1000,
    0x2000,
    EspSuite(Encr.AES_GCM_16, 128, Integ.NONE),
    KEYS,
    KEYS,
    (),
    (),
    PATH,
    udp_encapsulation=False,
)


class Notebook:
    """A steering that writes down what it is told."""

    told: list[object]
    refusal = ""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def start(self) -> None:
        type(self).told = []
        if self.refusal == "start":
            raise SteeringError("not on this kernel")

    async def steer(self, arrival: Arrival) -> None:
        if self.refusal == "steer":
            raise SteeringError("the table is full")
        self.told.append(arrival)

    async def release(self, spi: int) -> None:
        self.told.append(spi)

    async def refresh(self) -> None:
        if self.refusal == "refresh":
            raise SteeringError("no routes to be had")
        self.told.append("refresh")

    async def stop(self) -> None:
        self.told.append("stop")

    def describe(self) -> Mapping[str, str]:
        return {"receive steering": "a notebook"}

    async def survey(self) -> list[Prospect]:
        return []


class Plain(MemoryBackend):
    """A data plane that wants its packets steered."""

    steers_itself = False


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("notebook", f"{__name__}:Notebook", "ikeclone.steering")
    monkeypatch.setattr(steered, "entry_points", lambda group: [entry])
    monkeypatch.setattr(Notebook, "refusal", "")


async def test_clones_come_move_and_go() -> None:
    keeper = Steered(Settings(), Plain())
    await keeper.start()
    elsewhere = replace(PATH, remote=ip_address("198.51.100.3"))
    for action in (
        InstallChild(CLONE),
        InstallChild(replace(CLONE, cpu=None, inbound_spi=0x3000)),  # the fallback is for every CPU
        ActivateChild(0x1000),
        MoveChild(0x1000, elsewhere, False),
        MoveChild(0x3000, elsewhere, False),
        RemoveChild(0x1000),
        RemoveChild(0x1000),
        RemoveChild(0x3000),
    ):
        await keeper.told(action)
    await keeper.stop()
    assert Notebook.told == [Arrival(0x1000, 1, PATH, False), Arrival(0x1000, 1, elsewhere, False), 0x1000, "stop"]
    assert keeper.describe() == {"receive steering": "a notebook"}


async def test_a_refusal_is_logged_and_nothing_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Notebook, "refusal", "steer")
    keeper = Steered(Settings(), Plain())
    await keeper.start()
    with caplog.at_level(logging.WARNING):
        await keeper.told(InstallChild(CLONE))
    assert caplog.messages == ["received packets are not steered: the table is full"]


async def test_routes_are_followed_and_a_refusal_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Steered(Settings(), Plain())
    await keeper.start()
    await keeper.refresh()
    assert Notebook.told == ["refresh"]
    monkeypatch.setattr(Notebook, "refusal", "refresh")
    with caplog.at_level(logging.WARNING):
        await keeper.refresh()
    assert caplog.messages == ["received packets are not steered: no routes to be had"]


async def test_a_steering_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notebook, "refusal", "start")
    keeper = Steered(Settings(), Plain())
    await keeper.start()
    await keeper.told(InstallChild(CLONE))
    await keeper.stop()
    assert keeper.describe() == {"receive steering": "none: not on this kernel"}
    assert Notebook.told == []


@pytest.mark.parametrize(
    ("choice", "backend", "reason"),
    [
        (Choice.NO, Plain(), "steering=no"),
        (Choice.AUTO, MemoryBackend(), "the data plane memory brings each packet to the worker of its SA itself"),
    ],
)
async def test_where_nothing_is_to_be_steered(choice: Choice, backend: MemoryBackend, reason: str) -> None:
    keeper = Steered(Settings(choice), backend)
    await keeper.start()
    await keeper.told(InstallChild(CLONE))
    await keeper.stop()
    assert keeper.describe() == {"receive steering": f"none: {reason}"}
