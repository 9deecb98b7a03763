"""The state machine's actions, done by a data plane that may refuse some."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.apply import Applier
from ikeclone.backend import BackendError, ChildSa
from ikeclone.ike.actions import (
    ActivateChild,
    DeactivateChild,
    InstallChild,
    Kind,
    MoveChild,
    RemoveChild,
    Report,
    SkipNumbers,
)
from ikeclone.memory import MemoryBackend
from tests.unit.test_steered import CLONE, PATH


class Choosy(MemoryBackend):
    """Takes no Child SA of CPU 1."""

    async def install(self, sa: ChildSa) -> None:
        if sa.cpu == 1:
            raise BackendError("not this one")
        await super().install(sa)


async def test_what_goes_on_with_a_refused_sa_is_left_out() -> None:
    backend = Choosy()
    applier, spi = Applier(backend), CLONE.inbound_spi
    with pytest.raises(BackendError, match="not this one"):
        await applier.do(InstallChild(CLONE))
    going_on = (ActivateChild(spi), MoveChild(spi, PATH, False), SkipNumbers(spi, 5), DeactivateChild(spi))
    for action in (*going_on, RemoveChild(spi)):
        await applier.do(action)
    assert backend.installed == {}
    backend.reserved.add(spi)
    await applier.do(InstallChild(replace(CLONE, cpu=0)))
    await applier.do(ActivateChild(spi))
    assert list(backend.outbound.values()) == [spi]


async def test_what_is_said_of_a_refused_sa_that_it_is_up_is_not_so() -> None:
    applier, spi = Applier(Choosy()), CLONE.inbound_spi
    with pytest.raises(BackendError):
        await applier.do(InstallChild(CLONE))
    said = {kind: applier.refutes(Report("gw", kind, "", spi)) for kind in Kind}
    assert [kind for kind, refuted in said.items() if refuted] == [Kind.CHILD_UP, Kind.CHILD_REKEYED]
    assert not applier.refutes(Report("gw", Kind.CHILD_UP, "", spi + 1))
    assert not applier.refutes(Report("gw", Kind.CHILD_UP, "the connection is up already"))
    await applier.do(RemoveChild(spi))
    assert not applier.refutes(Report("gw", Kind.CHILD_UP, "", spi))


async def test_an_sa_that_was_never_there_is_still_an_error() -> None:
    with pytest.raises((BackendError, KeyError)):
        await Applier(MemoryBackend()).do(ActivateChild(0x7777))
