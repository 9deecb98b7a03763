"""The larval states with which the kernel waits for the answers to its acquires.

While there is one, all packets under its policy's template are dropped and none raises another acquire, until a state
answers it or net.core.xfrm_acq_expires is over, which is 30 seconds. Both may be wrong: a peer that narrows gives the
packet a state with another reqid, and one that refuses gives it none, while it may have something for the next packet.
So a state that sends says by `seq` which acquire it answers; and a larval state that nothing has answered for a second
is ended, so that the next packet asks again. Whether that leads to another request is the daemon's to decide.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from ikeclone.backend import BackendError, ChildSa, TrafficSelector
from ikeclone_xfrm.errors import NotThere
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.policies import is_ours, naming
from ikeclone_xfrm.selectors import packet
from ikeclone_xfrm.states import Attributes, Fields
from ikeclone_xfrm.structs import packed
from ikeclone_xfrm.xfrm import AsyncXfrm

log = logging.getLogger(__name__)

PATIENCE: Final = 1.0  # seconds
_FIRST_SPI, _LAST_SPI = 0x100, 0xFFFFFFFF
_KEPT: Final = ("id", "saddr", "seq", "reqid", "family", "mode")


@dataclass(frozen=True, slots=True)
class Larval:
    """A larval state of ours: what ALLOCSPI finds it by, and the packet that it stands for."""

    fields: Fields
    attributes: Attributes
    packet: tuple[TrafficSelector, TrafficSelector]

    @classmethod
    def of(cls, acquire: Any) -> Larval:
        """That of an acquire."""
        template = acquire.get_attr("XFRMA_TMPL")
        kept = {key: template[key] for key in ("reqid", "family", "mode")}
        fields = {**kept, **{key: acquire[key] for key in ("id", "saddr", "seq")}}
        return cls(fields, naming(acquire), packet(acquire["sel"]))

    @property
    def seq(self) -> int:
        """The number of its acquire."""
        number: int = self.fields["seq"]
        return number

    def wants(self, sa: ChildSa) -> bool:
        """Whether the packet can leave by this SA."""
        here = self.fields["id"]["daddr"] == packed(sa.path.remote).ljust(16, b"\0") and sa.cpu is None
        ends = zip((sa.local, sa.remote), self.packet, strict=True)
        return here and all(any(each.covers(end) for each in selectors) for selectors, end in ends)

    async def end(self, xfrm: AsyncXfrm) -> None:
        """Have the kernel wait no more; raises XfrmError."""
        await _end(self.fields, self.attributes, [], xfrm)


class Larvae:
    """Those that nothing has answered yet."""

    def __init__(self) -> None:
        self._waiting: dict[int, Larval] = {}

    async def wait(self, larval: Larval, xfrm: AsyncXfrm) -> None:
        """Let one wait for an answer, but not for long."""
        self._waiting[larval.seq] = larval
        await asyncio.sleep(PATIENCE)
        if self._waiting.pop(larval.seq, None) is None:
            return
        try:
            await larval.end(xfrm)
        except BackendError as error:
            log.warning("the kernel goes on waiting for an SA: %s", error)

    @contextmanager
    def answer(self, sa: ChildSa) -> Iterator[int]:
        """The number of the acquire that a new state of this SA answers, 0 if none; with it NEWSA ends the larval."""
        larval = next((each for each in self._waiting.values() if each.wants(sa)), None)
        yield larval.seq if larval is not None else 0
        if larval is not None:
            self._waiting.pop(larval.seq, None)

    async def end_unheard(self, states: Iterable[Any], xfrm: AsyncXfrm) -> None:
        """Of all states, end the larval ones whose acquires have not reached us; raises XfrmError."""
        for state in states:
            if is_larval(state) and is_ours(state["reqid"]) and state["seq"] not in self._waiting:
                await end(state, xfrm)

    def clear(self) -> None:
        self._waiting.clear()


def is_larval(state: Any) -> bool:
    """Whether a state stands for an acquire: it has no SPI yet."""
    return not state["id"]["spi"]


async def end(state: Any, xfrm: AsyncXfrm) -> None:
    """End a larval state that the kernel has; it is no error if it has gone. Raises XfrmError."""
    cpu = state.get_attr("XFRMA_SA_PCPU")
    place = [] if cpu is None else [("SA_PCPU", cpu)]
    await _end({key: state[key] for key in _KEPT}, naming(state), place, xfrm)


async def _end(fields: Fields, attributes: Attributes, place: Attributes, xfrm: AsyncXfrm) -> None:
    """DELSA takes a state by its SPI: first it has to be given one."""
    wanted = {"info": fields, "min": _FIRST_SPI, "max": _LAST_SPI}
    with suppress(NotThere):
        name = (await xfrm.fetch(Msg.ALLOCSPI, wanted, [*attributes, *place]))["id"]
        await xfrm.change(Msg.DELSA, {**name, "family": fields["family"]}, attributes)
