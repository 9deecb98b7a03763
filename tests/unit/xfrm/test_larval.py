"""Which acquire a new state answers, and what becomes of one that nothing answers."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any, cast

import pytest

from ikeclone.backend import ChildSa, Path, TrafficSelector
from ikeclone_xfrm import larval as module
from ikeclone_xfrm.backend import XfrmBackend
from ikeclone_xfrm.errors import refused
from ikeclone_xfrm.larval import Larvae, Larval
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.structs import packed
from ikeclone_xfrm.xfrm import AsyncXfrm

from . import test_backend
from .samples import EAST, REQID, SA, WEST, child
from .test_backend import Dictionary

backend, kernel = test_backend.backend, test_backend.kernel

SEQ = 7
PACKET = TrafficSelector.of(ip_network("192.0.1.7")), TrafficSelector.of(ip_network("192.0.2.9"))
ELSEWHERE = (TrafficSelector.of(ip_network("192.0.4.0/24")),)


def waiting() -> Larval:
    ends = {"id": {"daddr": packed(EAST).ljust(16, b"\0"), "proto": 50}, "saddr": packed(WEST).ljust(16, b"\0")}
    return Larval({**ends, "seq": SEQ, "reqid": REQID, "family": 2, "mode": 1}, [], PACKET)


class Requests:
    """A kernel that gives a larval state an SPI and lets it go, or refuses with `code`."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.made: list[tuple[Msg, int]] = []

    async def fetch(self, kind: Msg, fields: dict[str, Any], attributes: Any) -> dict[str, Any]:
        if self.code:
            raise refused(kind.name, self.code)
        self.made.append((kind, fields["info"]["seq"]))
        return {"id": {**fields["info"]["id"], "spi": 0x1234}}

    async def change(self, kind: Msg, fields: dict[str, Any], attributes: Any) -> None:
        self.made.append((kind, fields["spi"]))


@pytest.mark.parametrize(
    ("sa", "seq"),
    [
        (SA, SEQ),
        (child(connection="gw[1]", remote=PACKET[1:]), SEQ),
        (child(remote=ELSEWHERE), 0),
        (child(cpu=1), 0),
        (child(path=Path(WEST, ip_address("192.1.2.99"))), 0),
    ],
)
async def test_a_state_answers_for_the_packet_that_it_can_carry(
    backend: XfrmBackend, kernel: Dictionary, sa: ChildSa, seq: int
) -> None:
    backend.waits(waiting())
    await asyncio.sleep(0)
    await backend.install(sa)
    await backend.activate(sa.inbound_spi)
    (sending,) = [state for state in kernel.states.values() if state["id"]["spi"] == sa.outbound_spi]
    assert sending["seq"] == seq
    await backend._tasks.stop()


async def test_one_that_is_answered_is_left_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    requests, larvae = Requests(), Larvae()
    task = asyncio.create_task(larvae.wait(waiting(), cast("AsyncXfrm", requests)))
    await asyncio.sleep(0)
    with larvae.answer(SA) as seq:
        assert seq == SEQ
    await task
    assert requests.made == []


async def test_a_state_that_cannot_be_made_answers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    requests, larvae = Requests(), Larvae()
    task = asyncio.create_task(larvae.wait(waiting(), cast("AsyncXfrm", requests)))
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="no room"), larvae.answer(SA):
        raise OSError("no room")
    await task
    assert requests.made == [(Msg.ALLOCSPI, SEQ), (Msg.DELSA, 0x1234)]


@pytest.mark.parametrize(("code", "logged"), [(3, False), (12, True)])
async def test_what_cannot_be_ended_is_logged_unless_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int, logged: bool
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    await Larvae().wait(waiting(), cast("AsyncXfrm", Requests(code)))
    assert ("goes on waiting" in caplog.text) is logged


class Found(dict[str, Any]):
    """A state as the kernel dumps it."""

    def __init__(self, seq: int, reqid: int = REQID, spi: int = 0) -> None:
        super().__init__({**waiting().fields, "seq": seq, "reqid": reqid})
        self["id"] = {**self["id"], "spi": spi}

    def get_attr(self, name: str) -> int | None:
        return 2 if name == "XFRMA_SA_PCPU" and self["seq"] == SEQ + 2 else None


async def test_those_whose_acquires_were_lost_are_ended_at_once() -> None:
    requests, larvae = Requests(), Larvae()
    task = asyncio.create_task(larvae.wait(waiting(), cast("AsyncXfrm", requests)))
    await asyncio.sleep(0)
    states = Found(SEQ), Found(SEQ + 1), Found(SEQ + 2), Found(SEQ + 3, reqid=1), Found(0, spi=1)
    await larvae.end_unheard(states, cast("AsyncXfrm", requests))
    ended = [SEQ + 1, SEQ + 2]
    assert requests.made == [request for seq in ended for request in ((Msg.ALLOCSPI, seq), (Msg.DELSA, 0x1234))]
    task.cancel()
