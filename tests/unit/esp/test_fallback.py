"""Who has a connection's fallback knows it before the other workers pass their packets to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from ikeclone.backend import ChildSa
from ikeclone_esp import EspBackend
from ikeclone_esp.messages import Fallback

from .packets import child_sa


@dataclass
class Workers:
    """A pool of workers that write down what they were told when they have done it."""

    told: list[tuple[int, object]] = field(default_factory=list)
    table: Any = field(default_factory=lambda: SimpleNamespace(row=lambda _: SimpleNamespace(clear=lambda: None)))

    def __getitem__(self, number: int) -> Any:
        async def request(body: object) -> None:
            await asyncio.sleep(0)
            self.told.append((number, body))

        return SimpleNamespace(request=request, inform=request)

    def __len__(self) -> int:
        return 3


def fallbacks_told(*sas: ChildSa) -> list[tuple[int, int | None]]:
    """Install and activate these fallbacks one after the other; which worker was told who has the newest, in order."""

    async def run() -> None:
        plane = EspBackend()
        plane._cpus, plane._pool = [0, 1, 2], cast("Any", workers)
        for sa in sas:
            await plane.install(sa)
            await plane.activate(sa.inbound_spi)

    workers = Workers()
    asyncio.run(run())
    return [(number, body.worker) for number, body in workers.told if isinstance(body, Fallback)]


def test_the_owner_of_the_fallback_is_told_first() -> None:
    told = fallbacks_told(child_sa(spi=3000, cpu=None), child_sa(spi=3002, cpu=None))
    first, second = [row for row in told if row[1] == 0], [row for row in told if row[1] == 2]
    assert told == first + second
    assert first[0] == (0, 0)
    assert second[0] == (2, 2)
    assert {number for number, _ in first} == {number for number, _ in second} == {0, 1, 2}


def test_nobody_is_told_of_a_new_fallback_on_the_same_worker() -> None:
    told = fallbacks_told(child_sa(spi=3001, cpu=None), child_sa(spi=3004, cpu=None))
    assert {worker for _, worker in told} == {1}
    assert len(told) == len(fallbacks_told(child_sa(spi=3001, cpu=None)))
