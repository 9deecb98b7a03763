"""The backend: what the daemon asks for, as states and policies of the kernel, and the kernel's news for the daemon."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path as FilePath
from typing import Any, Final

from ikeclone.backend import BackendError, ChildSa, Counters, Event, Expire, Lost, Path, Policy
from ikeclone_xfrm import sockets
from ikeclone_xfrm.counting import used_up
from ikeclone_xfrm.decline import Decliner
from ikeclone_xfrm.half import Key, key_of
from ikeclone_xfrm.listener import Listener
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.pair import Pair
from ikeclone_xfrm.policies import REQID_BASE
from ikeclone_xfrm.probe import probe
from ikeclone_xfrm.routes import Routes
from ikeclone_xfrm.states import Kernel
from ikeclone_xfrm.sweep import sweep
from ikeclone_xfrm.trap import Trap, rearm
from ikeclone_xfrm.xfrm import AsyncXfrm

log = logging.getLogger(__name__)

_ONLINE: Final = FilePath("/sys/devices/system/cpu/online")
_LOCK: Final = "\0ikeclone-xfrm"  # an abstract name: it is free again when its owner ends, and each namespace has it
_FIRST_SPI: Final = 0x10000
_OVERLAP: Final = 2.0  # seconds
_WATCH: Final = 30.0  # seconds: less than a state takes for the last quarter of its sequence numbers


class XfrmBackend:
    """ikeclone.backend.Backend by the kernel's IPsec. All that is ours there is known by its reqid."""

    name = "xfrm"
    wants_encapsulation = False

    def __init__(self) -> None:
        self._cpus = frozenset(online_cpus())
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._reserved: set[int] = set()
        self._pairs: dict[int, Pair] = {}
        self._keys: dict[Key, int] = {}  # a state's: the pair's inbound SPI
        self._reqids: dict[str, int] = {}
        self._traps: dict[str, Trap] = {}
        self._expired: set[tuple[int, bool]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._kernel = Kernel(directions=False, per_cpu=False)
        self._lock: socket.socket | None = None
        self._xfrm: AsyncXfrm | None = None
        self._decliner: Decliner | None = None
        self._listener: Listener | None = None
        self._routes: Routes | None = None

    def cpus(self) -> frozenset[int]:
        return self._cpus

    def allocate_spi(self, cpu: int | None) -> int:
        while True:
            spi = secrets.randbelow(0x100000000 - _FIRST_SPI) + _FIRST_SPI
            if spi not in self._reserved and spi not in self._pairs:
                self._reserved.add(spi)
                return spi

    async def start(self) -> None:
        self._kernel = await probe()
        try:
            self._lock = _lock()
            self._xfrm = AsyncXfrm()
            await self._xfrm.bind()
            if found := await sweep(self._xfrm):
                log.warning("%d policies and states of an earlier daemon are removed", found)
            self._routes = Routes()
            await self._routes.start()
            self._listener = Listener(self, self._xfrm.epid)
            await self._listener.start()
            self._decliner = Decliner()
        except (BackendError, OSError) as error:
            await self.stop()
            raise BackendError(f"the kernel's IPsec cannot be used: {error}") from error
        self._spawn(self._listener.run())
        self._spawn(self._watch())

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._routes is not None:
            await self._routes.stop()
        if self._xfrm is not None:
            for trap in self._traps.values():
                await trap.remove()
            await sweep(self._xfrm)
        for closable in (self._listener, self._decliner, self._xfrm, self._lock):
            if closable is not None:
                closable.close()
        self._routes = self._listener = self._decliner = self._xfrm = self._lock = None
        for known in (self._reserved, self._pairs, self._keys, self._reqids, self._traps, self._expired):
            known.clear()

    def share(self, sock: socket.socket) -> None:
        sockets.exempt(sock)
        if sock.getsockname()[1] == sockets.ENCAPSULATION_PORT:
            sockets.encapsulate(sock)

    async def route(self, policy: Policy) -> None:
        name = policy.connection
        trap = self._traps.get(name)
        if trap is None:
            trap = self._traps[name] = Trap(self._running(), policy, self._reqid(name), self._rearm)
        assert self._routes is not None
        await trap.install(policy)
        await self._routes.add(policy)

    async def unroute(self, connection: str) -> None:
        trap = self._traps.pop(connection, None)
        if trap is not None:
            await trap.remove()
            assert self._routes is not None
            await self._routes.remove(connection)

    async def install(self, sa: ChildSa) -> None:
        pair = Pair(sa, self._reqid(sa.connection), self._kernel)
        self._reserved.discard(sa.inbound_spi)
        await pair.inbound.put(self._running())
        self._pairs[sa.inbound_spi] = pair
        self._keys[pair.inbound.key] = self._keys[pair.outbound.key] = sa.inbound_spi

    async def activate(self, inbound_spi: int) -> None:
        pair, xfrm = self._find(inbound_spi), self._running()
        if not pair.outbound.present:
            await pair.outbound.put(xfrm)
        # The kernel prefers newer states: an older one that is to send again does so once they have gone.
        for newer in self._newer(pair):
            await newer.outbound.take(xfrm)
        self._pairs[inbound_spi] = self._pairs.pop(inbound_spi)
        await self._changed(pair.sa.connection)

    async def deactivate(self, inbound_spi: int) -> None:
        if inbound_spi in self._pairs:  # one that was lost sends no more either
            await self._pairs[inbound_spi].outbound.take(self._running())

    async def remove(self, inbound_spi: int) -> None:
        self._reserved.discard(inbound_spi)
        pair = self._forget(inbound_spi)
        if pair is None:
            return
        await pair.outbound.drop(self._running())
        if any(other.sa.replaces == inbound_spi for other in self._pairs.values()):
            self._spawn(self._linger(pair))
        else:
            await pair.inbound.drop(self._running())
        await self._changed(pair.sa.connection)

    async def move(self, inbound_spi: int, path: Path) -> None:
        pair, xfrm = self._find(inbound_spi), self._running()
        moved = pair.moved(path, self._kernel)
        for key in (pair.inbound.key, pair.outbound.key):
            self._keys.pop(key, None)
        for former, half in ((pair.outbound, moved.outbound), (pair.inbound, moved.inbound)):
            if former.present:
                await former.take(xfrm)
                half.last = former.last
                await half.put(xfrm)
        self._pairs[inbound_spi] = moved
        self._keys[moved.inbound.key] = self._keys[moved.outbound.key] = inbound_spi
        trap = self._traps.get(pair.sa.connection)
        if trap is not None:
            await self.route(replace(trap.policy, path=path))

    async def counters(self) -> Mapping[int, Counters]:
        states = {key_of(state["id"]): state for state in await self._running().dump(Msg.GETSA)}
        boot = time.time() - time.monotonic()
        return {spi: pair.counters(states, boot) for spi, pair in self._pairs.items()}

    async def event(self) -> Event:
        return await self._events.get()

    def describe(self) -> Mapping[str, str]:
        if not self._kernel.per_cpu:
            clones = "unbound: this kernel has no states for single CPUs (Linux 6.13 has)"
        else:
            clones = "a state for each CPU"
        return {
            "clones": clones,
            "steering": "by CPU that sends; the network card chooses the one that receives",
            "missing": "offload to network cards",
        }

    # What the listener hears

    def tell(self, event: Event) -> None:
        """An event for the daemon."""
        self._events.put_nowait(event)

    def trap_of(self, reqid: int) -> Trap | None:
        """The trap whose policies have this reqid."""
        return next((trap for trap in self._traps.values() if trap.reqid == reqid), None)

    def sa_of(self, key: Key) -> ChildSa | None:
        """The Child SA that a state belongs to."""
        spi = self._keys.get(key)
        return self._pairs[spi].sa if spi is not None else None

    def lost(self, spis: tuple[int, ...], reason: str) -> None:
        """Somebody took states out of the kernel."""
        for spi in spis:
            self._forget(spi)
        self.tell(Lost(spis, reason))

    async def resynchronise(self, reason: str) -> None:
        """Compare what we believe with what the kernel has, and put it right; raises BackendError."""
        there = {key_of(state["id"]) for state in await self._running().dump(Msg.GETSA)}
        gone = tuple(spi for spi, pair in self._pairs.items() if any(key not in there for key in pair.present()))
        if gone:
            self.lost(gone, reason)
        for trap in self._traps.values():
            await trap.install(trap.policy)
            await trap.arm(changed=False)

    # Within

    def _running(self) -> AsyncXfrm:
        if self._xfrm is None:
            raise BackendError("the xfrm backend is not started")
        return self._xfrm

    def _find(self, spi: int) -> Pair:
        if spi not in self._pairs:
            raise BackendError(f"no SA with inbound SPI {spi:08x}")
        return self._pairs[spi]

    def _forget(self, spi: int) -> Pair | None:
        pair = self._pairs.pop(spi, None)
        if pair is not None:
            for half in (pair.inbound, pair.outbound):
                self._keys.pop(half.key, None)
            self._expired -= {(spi, True), (spi, False)}
        return pair

    def _newer(self, pair: Pair) -> list[Pair]:
        """The pairs of the same connection and CPU that became active after this one."""
        order = list(self._pairs.values())
        return [
            other
            for other in order[order.index(pair) + 1 :]
            if other.outbound.present and (other.sa.connection, other.sa.cpu) == (pair.sa.connection, pair.sa.cpu)
        ]

    def _reqid(self, connection: str) -> int:
        if connection not in self._reqids:
            self._reqids[connection] = REQID_BASE + 1 + len(self._reqids)
        return self._reqids[connection]

    async def _changed(self, connection: str) -> None:
        """A connection's states are others: it has reason to raise acquires for single CPUs, if it has a fallback."""
        pairs = [pair for pair in self._pairs.values() if pair.sa.connection == connection]
        fallback = any(pair.sa.cpu is None and pair.outbound.present for pair in pairs)
        trap = self._traps.get(connection)
        if trap is not None and fallback and self._kernel.per_cpu:
            await trap.arm(changed=True)

    async def _linger(self, pair: Pair) -> None:
        """Packets of an SA that was rekeyed may still be on their way, behind the messages that ended it."""
        await asyncio.sleep(_OVERLAP)
        await pair.inbound.drop(self._running())

    def _rearm(self, trap: Trap) -> None:
        self._spawn(rearm(trap))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the kernel's IPsec is not watched any more: %s", error)

    async def _watch(self) -> None:
        """Tell of states that run out of sequence numbers, in good time for a rekey."""
        while True:
            await asyncio.sleep(_WATCH)
            try:
                found = await self.counters()
            except BackendError as error:
                log.warning("the kernel's counters cannot be read: %s", error)
                continue
            for spi, hard in product(found.keys() & self._pairs.keys(), (False, True)):
                if used_up(self._pairs[spi].sa, found[spi], hard=hard) and (spi, hard) not in self._expired:
                    self._expired.add((spi, hard))
                    self.tell(Expire(spi, hard))


def online_cpus() -> list[int]:
    """The CPUs that run, from the kernel's list such as 0-3,8."""
    cpus: list[int] = []
    for part in _ONLINE.read_text().strip().split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def _lock() -> socket.socket:
    """What only one backend in a network namespace can have: each would take the other's states for leftovers."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(_LOCK)
    except OSError as error:
        lock.close()
        raise BackendError("another ikeclone uses the kernel's IPsec in this network namespace") from error
    return lock
