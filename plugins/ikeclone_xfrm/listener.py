"""The kernel's news: packets without a state, states that ended or were taken, peers that moved."""

from __future__ import annotations

import errno
import logging
from dataclasses import replace
from typing import Any, Final, Protocol

from ikeclone.backend import Acquire, BackendError, ChildSa, Event, Remapped
from ikeclone_xfrm.half import Key, key_of
from ikeclone_xfrm.larval import Larval
from ikeclone_xfrm.numbers import Group, Msg
from ikeclone_xfrm.selectors import packet
from ikeclone_xfrm.structs import unpacked
from ikeclone_xfrm.trap import Trap, restore
from ikeclone_xfrm.xfrm import AsyncXfrm

log = logging.getLogger(__name__)

_GROUPS: Final = (Group.ACQUIRE, Group.EXPIRE, Group.SA, Group.POLICY, Group.MAPPING)
_BUFFER: Final = 4 << 20  # some thousand acquires: a stream raises one a packet until its trap is disarmed


class Audience(Protocol):
    """Who is told."""

    def tell(self, event: Event) -> None: ...
    def expired(self, spi: int, *, hard: bool) -> None: ...
    def waits(self, larval: Larval) -> None: ...
    def trap_of(self, reqid: int) -> Trap | None: ...
    def traps_with(self, reqid: int) -> list[Trap]: ...
    def sa_of(self, key: Key) -> ChildSa | None: ...
    def lost(self, spis: tuple[int, ...], reason: str) -> None: ...
    async def resynchronise(self, reason: str) -> None: ...


class Listener:
    """Listens from `start` on; `run` tells the audience."""

    def __init__(self, audience: Audience, requester: int) -> None:
        """`requester` is the port of our own requests, whose news is none."""
        self._audience, self._requester = audience, requester
        self._xfrm: AsyncXfrm | None = None

    async def start(self) -> None:
        """Open a socket for the news; raises OSError."""
        self._xfrm = AsyncXfrm(rcvbuf=_BUFFER)
        await self._xfrm.subscribe(_GROUPS)

    def close(self) -> None:
        if self._xfrm is not None:
            self._xfrm.close()
            self._xfrm = None

    async def run(self) -> None:
        """Hear until cancelled. When there was more news than the buffer holds, the kernel's state is read instead."""
        while True:
            assert self._xfrm is not None
            try:
                async for message in self._xfrm.events():
                    await self._heard(message)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            self.close()
            await self.start()
            log.warning("the kernel had more news than could be taken: looking at what it has")
            await self._resynchronise("the kernel lost them")

    async def _heard(self, message: Any) -> None:
        if message["header"]["pid"] == self._requester:
            return
        match message["header"]["type"]:
            case Msg.ACQUIRE:
                await self._acquire(message)
            case Msg.EXPIRE:
                self._expire(message)
            case Msg.MAPPING:
                self._mapping(message)
            case Msg.DELSA:
                self._deleted(message)
            case Msg.DELPOLICY:
                for trap in self._audience.traps_with(_reqid(message)):
                    log.warning("%s: somebody deleted a policy in the kernel: it is put back", trap.policy.connection)
                    await restore(trap)
            case Msg.FLUSHSA:
                await self._resynchronise("somebody flushed the kernel's states")
            case Msg.FLUSHPOLICY:
                log.warning("somebody flushed the kernel's policies: ours are put back")
                await self._resynchronise("somebody flushed the kernel's policies")

    async def _acquire(self, message: Any) -> None:
        trap = self._audience.trap_of(_reqid(message))
        if trap is None:
            return
        cpu = message.get_attr("XFRMA_SA_PCPU")
        if cpu is None:  # those of single CPUs are declined, and have none
            self._audience.waits(Larval.of(message))
        if cpu is None or trap.acquired(cpu):
            self._audience.tell(Acquire(trap.policy.connection, cpu, packet(message["sel"])))
        if trap.busy:
            try:
                await trap.disarm()
            except BackendError as error:
                log.warning("%s: %s", trap.policy.connection, error)

    def _expire(self, message: Any) -> None:
        sa = self._audience.sa_of(key_of(message["state"]["id"]))
        if sa is not None:
            self._audience.expired(sa.inbound_spi, hard=bool(message["hard"]))

    def _mapping(self, message: Any) -> None:
        sa = self._audience.sa_of(key_of(message["id"]))
        if sa is not None:
            address = unpacked(message["new_saddr"], message["id"]["family"])
            path = replace(sa.path, remote=address, remote_port=message["new_sport"])
            self._audience.tell(Remapped(sa.inbound_spi, path))

    def _deleted(self, message: Any) -> None:
        sa = self._audience.sa_of(key_of(message))
        if sa is not None:
            self._audience.lost((sa.inbound_spi,), "somebody deleted states in the kernel")

    async def _resynchronise(self, reason: str) -> None:
        try:
            await self._audience.resynchronise(reason)
        except BackendError as error:
            log.warning("the kernel's states are not known: %s", error)


def _reqid(message: Any) -> int:
    """That of a policy's template; 0, which is nobody's, without one."""
    template = message.get_attr("XFRMA_TMPL")
    return template["reqid"] if template is not None else 0
