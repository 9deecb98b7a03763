"""The backend: what the daemon asks for, as states and policies of the kernel, and the kernel's news for the daemon."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Final

from ikeclone.backend import (
    BackendError,
    ChildSa,
    Counters,
    Event,
    Expire,
    IPAddress,
    Lost,
    Path,
    Policy,
    online_cpus,
)
from ikeclone_xfrm import cards, sockets
from ikeclone_xfrm.connections import Connections
from ikeclone_xfrm.counting import used_up
from ikeclone_xfrm.foreign import company
from ikeclone_xfrm.half import Half, Key, key_of
from ikeclone_xfrm.larval import Larvae, Larval
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.pair import Pair
from ikeclone_xfrm.pairs import Pairs
from ikeclone_xfrm.placement import Place
from ikeclone_xfrm.probe import probe
from ikeclone_xfrm.session import Session
from ikeclone_xfrm.states import Kernel
from ikeclone_xfrm.tasks import Tasks
from ikeclone_xfrm.trap import Trap, rearm, restore
from ikeclone_xfrm.xfrm import AsyncXfrm

log = logging.getLogger(__name__)

_FIRST_SPI: Final = 0x10000
_OVERLAP: Final = 2.0  # seconds
_BOUND: Final = "a state for each CPU"
_UNBOUND: Final = "unbound: this kernel has no states for single CPUs (Linux 6.13 has)"
_WATCH: Final = 5.0  # seconds between two looks at what states have carried


class XfrmBackend:
    """ikeclone.backend.Backend by the kernel's IPsec. All that is ours there is known by its reqid."""

    name = "xfrm"
    wants_encapsulation = False
    steers_itself = False

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._reserved: set[int] = set()
        self._pairs = Pairs()
        self._connections = Connections(lambda trap: self._tasks.start(rearm(trap)))
        self._expired: set[tuple[int, bool]] = set()
        self._larvae = Larvae()
        self._tasks = Tasks()
        self._kernel = Kernel(directions=False, per_cpu=False)
        self._session: Session | None = None

    def cpus(self) -> frozenset[int]:
        return frozenset(online_cpus())

    def allocate_spi(self, cpu: int | None) -> int:
        while True:
            spi = secrets.randbelow(0x100000000 - _FIRST_SPI) + _FIRST_SPI
            if spi not in self._reserved and spi not in self._pairs:
                self._reserved.add(spi)
                return spi

    async def probe(self) -> str:
        """Find out what the kernel can; raises BackendError, with the reason, when it cannot do ESP for us."""
        self._kernel = await probe()
        return f"clones: {_BOUND if self._kernel.per_cpu else _UNBOUND}{await company()}"

    async def start(self) -> None:
        await self.probe()
        session = Session()
        await session.open(self)
        self._session = session
        self._tasks.start(session.listener.run())
        self._tasks.start(session.routes.watch())
        self._tasks.start(self._watch())

    async def stop(self) -> None:
        await self._tasks.stop()
        for known in (self._connections, self._reserved, self._expired, self._larvae):
            known.clear()
        self._pairs = Pairs()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def share(self, sock: socket.socket) -> None:
        sockets.exempt(sock)
        if sock.getsockname()[1] == sockets.ENCAPSULATION_PORT:
            sockets.encapsulate(sock)

    async def unshare(self, address: IPAddress) -> None:
        """What the sockets have of the kernel's IPsec goes with them."""

    async def route(self, policy: Policy) -> None:
        await self._connections.route(policy, self._running())

    async def unroute(self, connection: str) -> None:
        trap = self._connections.trap(connection)
        if trap is not None:
            await self._connections.unroute(connection, self._running())
        self._left(connection, trap.policy.whole if trap is not None else None)

    async def install(self, sa: ChildSa) -> None:
        self._connections.check(sa.connection)
        reqid, whole = self._connections.reqid(sa.connection), self._connections.whole(sa)
        pair = Pair(sa, reqid, self._kernel, await self._place(sa), whole)
        self._reserved.discard(sa.inbound_spi)
        await self._put(pair, pair.inbound)
        self._pairs.put(pair)

    async def activate(self, inbound_spi: int) -> None:
        pair = self._pairs.find(inbound_spi)
        if not pair.outbound.present:
            with self._larvae.answer(pair.sa) as seq:
                pair.outbound.state.fields["seq"] = seq
                await self._put(pair, pair.outbound)
        # The kernel prefers newer states: an older one that is to send again does so once they have gone.
        for newer in self._pairs.newer(pair):
            await newer.outbound.take(self._xfrm)
        self._pairs.put(pair)
        await self._changed(pair.sa.connection)

    async def deactivate(self, inbound_spi: int) -> None:
        pair = self._pairs.get(inbound_spi)
        if pair is not None:  # one that was lost sends no more either
            for each in (*self._pairs.rivals(pair), pair):
                await each.outbound.take(self._xfrm)

    async def remove(self, inbound_spi: int) -> None:
        self._reserved.discard(inbound_spi)
        pair = self._forget(inbound_spi)
        if pair is None:
            return
        if self._pairs.replaced(inbound_spi):
            await pair.outbound.drop(self._xfrm)
            self._tasks.start(self._linger(pair))
        else:
            await self._drop(pair)
        self._left(pair.sa.connection, pair.sa.whole)
        await self._changed(pair.sa.connection)

    async def move(self, inbound_spi: int, path: Path, udp_encapsulation: bool) -> None:
        pair = self._pairs.find(inbound_spi)
        elsewhere = replace(pair.sa, path=path, udp_encapsulation=udp_encapsulation)
        moved = pair.moved(path, udp_encapsulation, self._kernel, await self._place(elsewhere))
        # A state that is to be in UDP, or no longer, is made anew.
        migrates = self._kernel.migrates and udp_encapsulation == pair.sa.udp_encapsulation
        for former, half in ((pair.outbound, moved.outbound), (pair.inbound, moved.inbound)):
            await former.hand_over(half, self._xfrm, migrates=migrates)
        self._pairs.put(moved)
        trap = self._connections.trap(pair.sa.connection)
        if trap is not None:
            await self.route(replace(trap.policy, path=path))

    async def skip(self, inbound_spi: int, count: int) -> None:
        await self._pairs.find(inbound_spi).outbound.skip(count, self._xfrm)

    async def counters(self) -> Mapping[int, Counters]:
        states = {key_of(state["id"]): state for state in await self._xfrm.dump(Msg.GETSA)}
        boot = time.time() - time.monotonic()
        return {pair.sa.inbound_spi: pair.counters(states, boot) for pair in self._pairs}

    async def event(self) -> Event:
        return await self._events.get()

    def describe(self) -> Mapping[str, str]:
        offloaded = {f"{pair.sa.connection}: {pair.offloaded}" for pair in self._pairs if pair.offloaded is not None}
        return {
            "clones": _BOUND if self._kernel.per_cpu else _UNBOUND,
            "steering": "by CPU that sends",
            "offload": ", ".join(sorted(offloaded)) or "none",
        }

    # What the listener hears

    def tell(self, event: Event) -> None:
        """An event for the daemon."""
        self._events.put_nowait(event)

    def expired(self, spi: int, *, hard: bool) -> None:
        """A Child SA has reached its soft or hard limits, which is told once."""
        if (spi, hard) not in self._expired:
            self._expired.add((spi, hard))
            self.tell(Expire(spi, hard))

    def waits(self, larval: Larval) -> None:
        """The kernel waits for a Child SA."""
        self._tasks.start(self._larvae.wait(larval, self._xfrm))

    def trap_of(self, reqid: int) -> Trap | None:
        """The trap of the packets that leave with this reqid."""
        return self._connections.trap_of(reqid)

    def traps_with(self, reqid: int) -> list[Trap]:
        """All traps with policies of this reqid."""
        return self._connections.traps_with(reqid)

    def sa_of(self, key: Key) -> ChildSa | None:
        """The Child SA that a state belongs to."""
        pair = self._pairs.by_key(key)
        return pair.sa if pair is not None else None

    def lost(self, spis: tuple[int, ...], reason: str) -> None:
        """Somebody took states out of the kernel: what is left of their pairs goes too."""
        for pair in [self._forget(spi) for spi in spis]:
            if pair is not None:
                self._tasks.start(self._drop(pair))
        self.tell(Lost(spis, reason))

    async def resynchronise(self, reason: str) -> None:
        """Compare what we believe with what the kernel has, and put it right; raises BackendError."""
        before = self._pairs.present()
        states = await self._xfrm.dump(Msg.GETSA)
        there = {key_of(state["id"]) for state in states}
        # What came or went while the kernel was read, is not gone.
        if gone := self._pairs.owners((before & self._pairs.present()) - there):
            self.lost(gone, reason)
        for trap in self._connections.traps():
            await restore(trap)
        await self._larvae.end_unheard(states, self._xfrm)

    # Within

    async def _place(self, sa: ChildSa) -> Place:
        return await self._running().placement.of(sa, self._connections.trap(sa.connection))

    async def _put(self, pair: Pair, half: Half) -> None:
        trap = self._connections.trap(pair.sa.connection)
        await cards.put(half, trap, {pair, *self._pairs}, self._running())

    def _running(self) -> Session:
        if self._session is None:
            raise BackendError("the xfrm backend is not started")
        return self._session

    @property
    def _xfrm(self) -> AsyncXfrm:
        return self._running().xfrm

    def _forget(self, spi: int) -> Pair | None:
        self._expired -= {(spi, True), (spi, False)}
        return self._pairs.pop(spi)

    def _left(self, *connections: str | None) -> None:
        """A connection, and what it is a part of, have less than before."""
        for name in connections:
            if name is not None and not any(name in (pair.sa.connection, pair.sa.whole) for pair in self._pairs):
                self._connections.left(name)

    async def _changed(self, connection: str) -> None:
        """A connection's states are others: if it wants clones, there is reason to raise acquires for single CPUs."""
        trap = self._connections.trap(connection)
        if trap is not None and self._kernel.per_cpu and self._pairs.wants_clones(connection):
            await trap.arm(changed=True)

    async def _drop(self, pair: Pair) -> None:
        for half in (pair.outbound, pair.inbound):
            await half.drop(self._xfrm)

    async def _linger(self, pair: Pair) -> None:
        """Packets of an SA that was rekeyed may still be on their way, behind the messages that ended it."""
        await asyncio.sleep(_OVERLAP)
        await pair.inbound.drop(self._xfrm)

    async def _watch(self) -> None:
        """Tell of states that reach their limits."""
        while True:
            await asyncio.sleep(_WATCH)
            try:
                found = await self.counters()
            except BackendError as error:
                log.warning("the kernel's counters cannot be read: %s", error)
                continue
            for pair, hard in product(self._pairs, (False, True)):
                spi = pair.sa.inbound_spi
                if spi in found and used_up(pair.sa, found[spi], hard=hard):
                    self.expired(spi, hard=hard)
