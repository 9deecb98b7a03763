"""When policies raise acquires for single CPUs, and when they rest."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, cast

import pytest

from ikeclone.backend import BackendError, TrafficSelector
from ikeclone_xfrm import trap as module
from ikeclone_xfrm.errors import refused
from ikeclone_xfrm.numbers import Msg, PolicyDirection
from ikeclone_xfrm.shelf import Shelf
from ikeclone_xfrm.trap import ENOUGH, Trap, rearm
from ikeclone_xfrm.xfrm import AsyncXfrm

from .samples import POLICY, REQID

Request = tuple[Msg, int, int]


class Recorder:
    """Takes every request, or refuses it; knows each as its type, the policy's direction and flags."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.code = 0

    async def change(self, kind: Msg, fields: dict[str, Any], attributes: Iterable[tuple[str, Any]] = ()) -> None:
        if self.code:
            raise refused(kind.name, self.code)
        self.requests.append((kind, fields["dir"], fields.get("flags", 0)))

    async def fetch(self, kind: Msg, fields: dict[str, Any], attributes: Iterable[tuple[str, Any]] = ()) -> None:
        """There is nothing of anybody else's."""
        raise refused(kind.name, errno.ENOENT)

    def took(self) -> list[Request]:
        """What came since the last call."""
        taken, self.requests = self.requests, []
        return taken


OUT, IN, FWD = PolicyDirection.OUT, PolicyDirection.IN, PolicyDirection.FWD


def made(recorder: Recorder, resting: list[Trap]) -> Trap:
    return Trap(Shelf(cast("AsyncXfrm", recorder)), POLICY, REQID, resting.append)


async def test_policies_are_installed_unarmed_and_removed() -> None:
    recorder = Recorder()
    trap = made(recorder, [])
    await trap.install(POLICY)
    assert recorder.took() == [(Msg.UPDPOLICY, OUT, 0), (Msg.UPDPOLICY, IN, 0), (Msg.UPDPOLICY, FWD, 0)]
    await trap.remove()
    assert sorted(recorder.took()) == [(Msg.DELPOLICY, IN, 0), (Msg.DELPOLICY, OUT, 0), (Msg.DELPOLICY, FWD, 0)]


async def test_only_the_outbound_policy_is_armed() -> None:
    recorder = Recorder()
    trap = made(recorder, [])
    await trap.install(POLICY)
    recorder.took()
    await trap.arm(changed=True)
    assert recorder.took() == [(Msg.UPDPOLICY, OUT, 4)]


async def test_another_policy_takes_the_place_of_the_former() -> None:
    recorder = Recorder()
    trap = made(recorder, [])
    await trap.install(POLICY)
    recorder.took()
    other = replace(POLICY, remote=(TrafficSelector.of(ip_network("198.51.100.0/24")),))
    await trap.install(other)
    assert [kind for kind, *_ in recorder.took()] == [Msg.UPDPOLICY] * 3 + [Msg.DELPOLICY] * 3


async def test_the_first_packet_of_each_cpu_is_news_and_a_stream_makes_it_busy() -> None:
    trap = made(Recorder(), [])
    await trap.install(POLICY)
    await trap.arm(changed=True)
    assert trap.acquired(1)
    assert trap.acquired(2)
    assert not any(trap.acquired(1) for _ in range(ENOUGH - 1))
    assert not trap.busy
    assert not trap.acquired(2)
    assert trap.busy
    await trap.disarm()
    assert not trap.busy


async def test_after_a_rest_it_is_armed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.0)
    rested, recorder = asyncio.Event(), Recorder()
    trap = Trap(Shelf(cast("AsyncXfrm", recorder)), POLICY, REQID, lambda _: rested.set())
    await trap.install(POLICY)
    await trap.arm(changed=True)
    await trap.disarm()
    assert recorder.took()[-1] == (Msg.UPDPOLICY, OUT, 0)
    await asyncio.wait_for(rested.wait(), 30)
    await rearm(trap)
    assert recorder.took() == [(Msg.UPDPOLICY, OUT, 4)]


async def test_a_change_ends_the_rest_and_lets_every_cpu_ask_anew() -> None:
    resting: list[Trap] = []
    trap = made(Recorder(), resting)
    await trap.install(POLICY)
    await trap.arm(changed=True)
    assert trap.acquired(1)
    await trap.disarm()
    await trap.arm(changed=True)
    assert trap.acquired(1)
    await trap.remove()
    assert resting == []


async def test_a_removed_trap_is_not_armed_again() -> None:
    recorder = Recorder()
    trap = made(recorder, [])
    await trap.install(POLICY)
    await trap.remove()
    recorder.took()
    await trap.arm(changed=False)
    assert recorder.took() == []


async def test_a_kernel_that_refuses_is_named_with_its_words() -> None:
    recorder = Recorder()
    recorder.code = 1
    with pytest.raises(BackendError, match=r"UPDPOLICY: Operation not permitted \(EPERM\)"):
        await made(recorder, []).install(POLICY)


class Full(Recorder):
    """Has room for two policies."""

    async def change(self, kind: Msg, fields: dict[str, Any], attributes: Iterable[tuple[str, Any]] = ()) -> None:
        if kind is Msg.UPDPOLICY and len(self.requests) == 2:
            raise refused(kind.name, errno.ENOMEM)
        await super().change(kind, fields, attributes)


async def test_what_the_kernel_has_taken_before_it_refused_goes_with_the_trap() -> None:
    recorder = Full()
    trap = made(recorder, [])
    with pytest.raises(BackendError, match="ENOMEM"):
        await trap.install(POLICY)
    await trap.remove()
    assert {direction for kind, direction, _ in recorder.took() if kind is Msg.DELPOLICY} >= {OUT, IN}
