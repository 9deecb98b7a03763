"""The backend: what the daemon asks for, turned into messages to the worker it concerns."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace
from socket import socket
from typing import TYPE_CHECKING, Final

from ikeclone.backend import BackendError, ChildSa, Counters, Event, IPAddress, Lost, Path, Policy, online_cpus
from ikeclone_esp import abilities, sockets
from ikeclone_esp.installed import Installations
from ikeclone_esp.messages import (
    Activate,
    Deactivate,
    DropSocket,
    Fallback,
    Install,
    Move,
    Remove,
    Reserve,
    Route,
    Skip,
    Unroute,
)
from ikeclone_esp.pool import Pool
from ikeclone_esp.tun import Tun

if TYPE_CHECKING:
    from ikeclone_esp.routes import Routes

log = logging.getLogger(__name__)
IKE_PORT: Final = 500  # no ESP comes there
_FIRST_SPI: Final = 256  # those below are reserved (RFC 4303 section 2.1)
_OVERLAP: Final = 2.0  # seconds that a rekeyed SA still receives


class EspBackend:
    """ikeclone.backend.Backend without kernel IPsec. An SPI names its worker: `SPI mod workers`."""

    name = "esp"
    wants_encapsulation = True
    steers_itself = True

    def __init__(self) -> None:
        self._cpus = online_cpus()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._installed = Installations(len(self._cpus))
        self._reserved: set[int] = set()
        self._policies: dict[str, Policy] = {}
        self._fallbacks: dict[str, int] = {}  # connection: worker
        self._pool: Pool | None = None
        self._watching: asyncio.Task[None] | None = None
        self._routes: Routes | None = None

    def cpus(self) -> frozenset[int]:
        """Those that have a worker, less what was unplugged since."""
        return frozenset(self._cpus).intersection(online_cpus())

    async def probe(self) -> str:
        """Make a TUN device for a moment; raises BackendError when that is refused."""
        tun = Tun(self._cpus)
        tun.close()
        return f"{len(self._cpus)} workers, packets steered {tun.steering}"

    async def start(self) -> None:
        from ikeclone_esp.routes import Routes  # pyroute2 is slow to load and of no use to whoever only looks around

        self._pool = Pool(self._cpus, self._events.put_nowait, self._on_lost, self._brief)
        self._routes = Routes(self._pool.tun.name)
        try:
            await self._pool.start()
            await self._routes.start()
            self._watching = asyncio.create_task(self._routes.watch())
        except BackendError:
            await self.stop()
            raise
        log.info(
            "ESP on %s, %d workers, packets steered %s", self._pool.tun.name, len(self._cpus), self._pool.tun.steering
        )

    async def stop(self) -> None:
        routes, pool, self._routes, self._pool = self._routes, self._pool, None, None
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for state in (self._installed, self._reserved, self._policies, self._fallbacks):
            state.clear()
        try:
            if routes is not None:
                await routes.stop()
        finally:
            if pool is not None:
                await pool.stop()

    def share(self, sock: socket) -> None:
        pool = self._running()
        address, port = sock.getsockname()[:2]
        if port != IKE_PORT:
            pool.add_sockets(address, sockets.encapsulated(sock, len(pool)))

    async def unshare(self, address: IPAddress) -> None:
        await self._ask_all(DropSocket(str(address)))
        self._running().remove_sockets(str(address))

    def _running(self) -> Pool:
        if self._pool is None:
            raise BackendError("the esp backend is not started")
        return self._pool

    def allocate_spi(self, cpu: int | None) -> int:
        pool = self._running()
        if cpu is None:
            worker = self._least_loaded()
        elif cpu in self._cpus:
            worker = self._cpus.index(cpu)
        else:
            raise BackendError(f"CPU {cpu} is not online or came online after the start")
        while True:
            spi = secrets.randbits(32) // len(pool) * len(pool) + worker
            if _FIRST_SPI <= spi < 1 << 32 and spi not in self._reserved and spi not in self._installed:
                break
        self._reserved.add(spi)
        pool[worker].post(Reserve(spi))
        return spi

    def _least_loaded(self) -> int:
        """The worker with the fewest SAs: fallbacks of many connections are spread."""
        load = [0] * len(self._cpus)
        for spi in [*(each.sa.inbound_spi for each in self._installed), *self._reserved]:
            load[self._worker(spi)] += 1
        return load.index(min(load))

    def _worker(self, spi: int) -> int:
        return spi % len(self._cpus)

    async def _ask(self, spi: int, body: object) -> None:
        await self._running()[self._worker(spi)].request(body)

    async def _ask_all(self, body: object) -> None:
        """Tell all workers; one that has ended gets it with its successor's briefing."""
        pool = self._running()
        await asyncio.gather(*(pool[index].inform(body) for index in range(len(pool))))

    async def route(self, policy: Policy) -> None:
        abilities.check(policy)
        self._running()
        assert self._routes is not None
        await self._routes.add(policy)
        self._policies[policy.connection] = policy
        await self._ask_all(Route(policy))

    async def unroute(self, connection: str) -> None:
        if self._policies.pop(connection, None) is not None and self._routes is not None:
            await self._routes.remove(connection)
            await self._ask_all(Unroute(connection))

    async def install(self, sa: ChildSa) -> None:
        abilities.check(sa)
        worker = self._worker(sa.inbound_spi)
        if sa.cpu is not None and self._cpus[worker] != sa.cpu:
            raise BackendError(f"SPI {sa.inbound_spi:08x} was not allocated for CPU {sa.cpu}")
        pool, row = self._running(), self._installed.add(sa).row
        pool.table.row(row).clear()
        self._reserved.discard(sa.inbound_spi)
        try:
            await self._ask(sa.inbound_spi, Install(sa, row))
        except BackendError:
            self._installed.forget(sa.inbound_spi)
            raise

    async def activate(self, inbound_spi: int) -> None:
        installed = self._installed.find(inbound_spi)
        await self._ask(inbound_spi, Activate(inbound_spi))
        self._installed.activate(inbound_spi)
        await self._announce_fallback(installed.sa.connection)

    async def deactivate(self, inbound_spi: int) -> None:
        installed = self._installed.find(inbound_spi)
        installed.active = False
        await self._announce_fallback(installed.sa.connection)
        await self._ask(inbound_spi, Deactivate(inbound_spi))

    async def _announce_fallback(self, connection: str) -> None:
        """Tell the workers who has the connection's fallback, if that has changed: first of all the one that has it.

        It would pass what others pass to it back to the one that had the fallback before.
        """
        spi = self._installed.fallback(connection)
        worker = self._worker(spi) if spi is not None else None
        if worker == self._fallbacks.get(connection):
            return
        if worker is None:
            del self._fallbacks[connection]
        else:
            self._fallbacks[connection] = worker
            await self._running()[worker].inform(Fallback(connection, worker))
        await self._ask_all(Fallback(connection, worker))

    async def remove(self, inbound_spi: int) -> None:
        worker = self._running()[self._worker(inbound_spi)]
        installed = self._installed.get(inbound_spi)
        if installed is not None:
            installed.active = False
            await self._announce_fallback(installed.sa.connection)
            if self._installed.is_replaced(inbound_spi):
                await worker.inform(Deactivate(inbound_spi))
                self._leave(inbound_spi)
                return
        elif inbound_spi not in self._reserved:
            return
        self._reserved.discard(inbound_spi)
        await worker.inform(Remove(inbound_spi))
        self._installed.forget(inbound_spi)

    def _leave(self, spi: int) -> None:
        """Packets of an SA that was rekeyed may still be on their way, or wait here, when IKE has done with it."""
        if self._installed.leave(spi):
            asyncio.get_running_loop().call_later(_OVERLAP, self._left, spi)

    def _left(self, spi: int) -> None:
        if self._installed.left(spi):
            self._running()[self._worker(spi)].tell(Remove(spi))

    async def move(self, inbound_spi: int, path: Path, udp_encapsulation: bool) -> None:
        connection = self._installed.find(inbound_spi).sa.connection
        await self._reach(connection, path)
        await self._ask(inbound_spi, Move(inbound_spi, path, udp_encapsulation))

    async def skip(self, inbound_spi: int, count: int) -> None:
        await self._ask(inbound_spi, Skip(inbound_spi, count))

    async def _reach(self, connection: str, path: Path) -> None:
        """Keep what goes to a peer's new address out of the tunnel."""
        policy = self._policies.get(connection)
        if policy is not None and self._routes is not None and policy.path.remote != path.remote:
            self._policies[connection] = replace(policy, path=path)
            await self._routes.add(self._policies[connection])

    async def counters(self) -> Mapping[int, Counters]:
        pool = self._running()
        table, cpus = pool.table, pool.cpus if pool.tun.steers_by_cpu else []
        return {each.sa.inbound_spi: table.row(each.row).read(cpus) for each in self._installed}

    async def event(self) -> Event:
        return await self._events.get()

    def _on_lost(self, worker: int, reason: str) -> None:
        """A worker has ended, and the SAs that only it knew are gone."""
        spis = self._installed.lose(lambda spi: self._worker(spi) == worker)
        log.warning("%s; %d SAs are lost and must be made anew", reason, len(spis))
        for connection in [name for name, owner in self._fallbacks.items() if owner == worker]:
            del self._fallbacks[connection]
            for index in range(len(self._cpus)):
                self._running()[index].tell(Fallback(connection, None))
        if spis:
            self._events.put_nowait(Lost(spis, reason))

    def _brief(self, worker: int) -> None:
        """Tell a new worker what its predecessor knew, keys excepted."""
        successor = self._running()[worker]
        log.warning("a new ESP worker runs on CPU %d (pid %d)", successor.cpu, successor.pid)
        for policy in self._policies.values():
            successor.tell(Route(policy))
        for spi in self._reserved:
            if self._worker(spi) == worker:
                successor.post(Reserve(spi))
        for connection, owner in self._fallbacks.items():
            successor.tell(Fallback(connection, owner))

    def describe(self) -> Mapping[str, str]:
        return abilities.describe(self._running())
