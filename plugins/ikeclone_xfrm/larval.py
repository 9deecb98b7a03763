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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from ikeclone.backend import BackendError, ChildSa, TrafficSelector
from ikeclone_xfrm.errors import NotThere
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.policies import naming
from ikeclone_xfrm.selectors import packet
from ikeclone_xfrm.states import Attributes, Fields
from ikeclone_xfrm.structs import packed
from ikeclone_xfrm.xfrm import AsyncXfrm

log = logging.getLogger(__name__)

PATIENCE: Final = 1.0  # seconds
_FIRST_SPI, _LAST_SPI = 0x100, 0xFFFFFFFF


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
        with suppress(NotThere):
            name = await identify(xfrm, self.fields, self.attributes)
            await xfrm.change(Msg.DELSA, {**name, "family": self.fields["family"]}, self.attributes)


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

    def clear(self) -> None:
        self._waiting.clear()


async def identify(xfrm: AsyncXfrm, fields: Fields, attributes: Attributes) -> Fields:
    """The struct xfrm_id of a larval state. It has no SPI yet, and is given one. Raises XfrmError."""
    wanted = {"info": fields, "min": _FIRST_SPI, "max": _LAST_SPI}
    name: Fields = (await xfrm.fetch(Msg.ALLOCSPI, wanted, attributes))["id"]
    return name
