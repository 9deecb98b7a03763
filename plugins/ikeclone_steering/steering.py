"""The steering: for each SPI the first way that its device has."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ikeclone.steering import Arrival, Path, Prospect, Settings, SteeringError
from ikeclone_steering.links import Link
from ikeclone_steering.survey import survey
from ikeclone_steering.system import System
from ikeclone_steering.ways import Way, instead_of

log = logging.getLogger(__name__)
_ENCAPSULATION_PORT: Final = 4500  # RFC 3948 section 2.1
_NOWHERE: Final = 0  # no device has this index
_SHARED: Final = "ESP in UDP whose SAs share their ports (clones-encap=yes at the peer gives each its own)"


@dataclass(slots=True)
class _Device:
    """How the SPIs that come by a device are steered, and why not otherwise."""

    name: str
    spis: dict[int, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        ways = [f"{how}: {count} SPIs" for how, count in Counter(self.spis.values()).items()]
        return (", ".join(ways) or f"none on {self.name}") + instead_of(self.refusals)


class KernelSteering:
    """ikeclone.steering.Steering by the network card, by XDP, or by the kernel's masks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._system: System | None = None
        self._devices: dict[int, _Device] = {}
        self._arrivals: dict[int, Arrival] = {}
        self._places: dict[int, int] = {}  # the device that an SPI comes by
        self._paths: Counter[Path] = Counter()

    async def start(self) -> None:
        self._system = System(self._settings)
        await self._system.sweep()
        await self._system.inside.take()

    async def stop(self) -> None:
        system, self._system = self._system, None
        self._devices.clear()
        self._arrivals.clear()
        self._places.clear()
        self._paths.clear()
        if system is not None:
            await system.undo()

    async def steer(self, arrival: Arrival) -> None:
        system = self._running()
        await self.release(arrival.spi)
        self._arrivals[arrival.spi] = arrival
        self._paths[arrival.path] += 1
        link = await system.links.towards(arrival.path)
        self._places[arrival.spi] = link.index
        if link.index not in self._devices:
            self._devices[link.index] = _Device(link.name)
        device = self._devices[link.index]
        known = {None, *device.spis.values()}
        await self._first(system.ways, link, arrival, device)
        if device.spis.get(arrival.spi) not in known or not device.spis:
            log.info("receive steering: %s", device)

    async def _first(self, ways: Iterable[Way], link: Link, arrival: Arrival, device: _Device) -> None:
        shared = self._shares_ports(arrival)
        for way in ways:
            try:
                if shared and not way.looks_into_udp:
                    raise SteeringError(_SHARED)
                device.spis[arrival.spi] = await way.put(link, arrival)
            except SteeringError as error:
                device.refusals[way.title] = str(error)
            else:
                return

    def _shares_ports(self, arrival: Arrival) -> bool:
        """Whether packets of other SAs look the same to who does not look into UDP."""
        if not arrival.encapsulated:
            return False
        return arrival.path.remote_port == _ENCAPSULATION_PORT or self._paths[arrival.path] > 1

    async def release(self, spi: int) -> None:
        system = self._running()
        if arrival := self._arrivals.pop(spi, None):
            self._paths -= Counter((arrival.path,))
            self._places.pop(spi, None)
        for way in system.ways:
            await way.remove(spi)
        for device in self._devices.values():
            device.spis.pop(spi, None)

    async def refresh(self) -> None:
        system = self._running()
        if system.changes.any():
            await system.inside.take()
            await self._follow(system)

    async def _follow(self, system: System) -> None:
        """Steer where packets come in now. A peer that has no route, keeps what it had."""
        present = {link.index for link in await system.links.all()}
        for index in self._devices.keys() - present:
            del self._devices[index]
        towards: dict[str, int] = {}
        for arrival in list(self._arrivals.values()):
            peer = str(arrival.path.remote)
            if peer not in towards:
                towards[peer] = await self._device_towards(system, arrival)
            if towards[peer] not in (_NOWHERE, self._places.get(arrival.spi)):
                await self.steer(arrival)

    async def _device_towards(self, system: System, arrival: Arrival) -> int:
        try:
            return (await system.links.towards(arrival.path)).index
        except SteeringError:
            return _NOWHERE

    def describe(self) -> Mapping[str, str]:
        devices = "; ".join(map(str, self._devices.values()))
        received = {"receive steering": devices or "from the first clone on, on the device of its peer"}
        return received if self._system is None else {**received, **self._system.inside.describe()}

    async def survey(self) -> list[Prospect]:
        system = System(Settings())
        try:
            return await survey(await system.links.all(), system.ways)
        finally:
            system.close()

    def _running(self) -> System:
        if self._system is None:
            raise SteeringError("the steering is not started")
        return self._system
