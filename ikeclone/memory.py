"""A data plane in memory, from which no packets leave: for tests, and to try out a configuration."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from ikeclone.backend import Acquire, BackendError, ChildSa, Counters, Event, Expire, IPAddress, Path, Policy


@dataclass(frozen=True, slots=True)
class Packet:
    """An ESP packet: the SPI that it is for, and the key that stands for its encryption."""

    spi: int
    key: bytes = field(repr=False)
    size: int


class MemoryBackend:
    """Child SAs as entries of a dictionary. `transmit` and `receive` do what a CPU with a packet would do."""

    name = "memory"
    wants_encapsulation = False
    steers_itself = True

    def __init__(
        self,
        cpus: frozenset[int] = frozenset({0}),
        first_spi: int = 0x1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.online, self._clock = cpus, clock
        self._spis = count(first_spi)
        self.reserved: set[int] = set()
        self.policies: dict[str, Policy] = {}
        self.installed: dict[int, ChildSa] = {}
        self.outbound: dict[tuple[str, int | None], int] = {}
        self.events: deque[Event] = deque()
        self.counted: dict[int, Counters] = {}
        self.skipped: dict[int, int] = {}
        self._wake = asyncio.Event()

    def cpus(self) -> frozenset[int]:
        return self.online

    def allocate_spi(self, cpu: int | None) -> int:
        spi = next(self._spis)
        self.reserved.add(spi)
        return spi

    def share(self, sock: object) -> None:
        """No ESP arrives here."""

    async def unshare(self, address: IPAddress) -> None:
        """Nothing is kept of any address."""

    async def probe(self) -> str:
        return "carries no packets"

    async def start(self) -> None:
        """There is nothing to set up."""

    async def stop(self) -> None:
        self.policies.clear()
        self.installed.clear()
        self.outbound.clear()
        self.reserved.clear()

    async def route(self, policy: Policy) -> None:
        self.policies[policy.connection] = policy

    async def unroute(self, connection: str) -> None:
        self.policies.pop(connection, None)

    async def install(self, sa: ChildSa) -> None:
        if sa.inbound_spi not in self.reserved:
            raise BackendError(f"SPI {sa.inbound_spi:#x} was not reserved")
        self.reserved.discard(sa.inbound_spi)
        self.installed[sa.inbound_spi] = sa
        self.counted[sa.inbound_spi] = Counters()

    async def activate(self, inbound_spi: int) -> None:
        sa = self._sa(inbound_spi)
        self.outbound[sa.connection, sa.cpu] = inbound_spi

    async def deactivate(self, inbound_spi: int) -> None:
        self._silence(inbound_spi)

    async def remove(self, inbound_spi: int) -> None:
        self.reserved.discard(inbound_spi)
        self.counted.pop(inbound_spi, None)
        self.skipped.pop(inbound_spi, None)
        self._silence(inbound_spi)
        self.installed.pop(inbound_spi, None)

    def _silence(self, inbound_spi: int) -> None:
        sa = self.installed.get(inbound_spi)
        if sa is not None and self.outbound.get((sa.connection, sa.cpu)) == inbound_spi:
            del self.outbound[sa.connection, sa.cpu]

    async def move(self, inbound_spi: int, path: Path, udp_encapsulation: bool) -> None:
        moved = replace(self._sa(inbound_spi), path=path, udp_encapsulation=udp_encapsulation)
        self.installed[inbound_spi] = moved

    async def skip(self, inbound_spi: int, count: int) -> None:
        self._sa(inbound_spi)
        self.skipped[inbound_spi] = self.skipped.get(inbound_spi, 0) + count

    async def counters(self) -> Mapping[int, Counters]:
        return self.counted

    async def event(self) -> Event:
        while not self.events:
            self._wake.clear()
            await self._wake.wait()
        return self.events.popleft()

    def describe(self) -> Mapping[str, str]:
        return {"cpus": ", ".join(map(str, sorted(self.online))), "packets": "none: nothing is sent"}

    def transmit(self, connection: str, cpu: int, size: int) -> Packet | None:
        """A packet of the connection's traffic leaves on a CPU; without a clone there, an Acquire is raised."""
        clone = self.outbound.get((connection, cpu))
        if clone is None:
            self._tell(Acquire(connection, cpu))
            clone = self.outbound.get((connection, None))
        if clone is None:
            return None
        counters = self.counted[clone]
        counters.out_packets += 1
        counters.out_bytes += size
        counters.out_last = self._clock()
        sa = self.installed[clone]
        if sa.cpu is None:
            counters.out_by_cpu[cpu] = counters.out_by_cpu.get(cpu, 0) + 1
        self._measure(sa, counters.out_bytes, counters.out_packets, size)
        return Packet(sa.outbound_spi, sa.outbound_keys.encryption, size)

    def receive(self, packet: Packet) -> ChildSa | None:
        """A packet arrives; the SA that took it, or None when there is no such SA or its key differs."""
        sa = self.installed.get(packet.spi)
        if sa is None or sa.inbound_keys.encryption != packet.key:
            return None
        counters = self.counted[packet.spi]
        counters.in_packets += 1
        counters.in_bytes += packet.size
        counters.in_last = self._clock()
        self._measure(sa, counters.in_bytes, counters.in_packets, packet.size)
        return sa

    def _measure(self, sa: ChildSa, octets: int, packets: int, size: int) -> None:
        """Tell of the limits that a direction of an SA has reached with its last packet."""
        for hard, limit in ((False, sa.limits.soft), (True, sa.limits.hard)):
            if limit.is_reached(octets, packets) and not limit.is_reached(octets - size, packets - 1):
                self._tell(Expire(sa.inbound_spi, hard))

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self._wake.set()

    def _sa(self, inbound_spi: int) -> ChildSa:
        if inbound_spi not in self.installed:
            raise BackendError(f"no SA with SPI {inbound_spi:#x}")
        return self.installed[inbound_spi]
