"""The steering: for each SPI the first way that its device has."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ikeclone.steering import Arrival, Choice, Path, Settings, SteeringError
from ikeclone_steering.hashing import CardHash
from ikeclone_steering.journal import Journal
from ikeclone_steering.links import Link, Links
from ikeclone_steering.masks import Masks
from ikeclone_steering.redirect import Redirect
from ikeclone_steering.rules import CardRules
from ikeclone_steering.ways import Way

log = logging.getLogger(__name__)
_ENCAPSULATION_PORT: Final = 4500  # RFC 3948 section 2.1
_SHARED: Final = "ESP in UDP whose SAs share their ports (clones-encap=yes at the peer gives each its own)"


@dataclass(slots=True)
class _Device:
    """How the SPIs that come by a device are steered, and why not otherwise."""

    name: str
    spis: dict[int, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        ways = [f"{how}: {count} SPIs" for how, count in Counter(self.spis.values()).items()]
        return (", ".join(ways) or f"none on {self.name}") + _instead_of(self.refusals)


class _System:
    """The ways, best first, and what they change in the system."""

    def __init__(self, choice: Choice) -> None:
        self.links, self.journal = Links(), Journal()
        self.redirect = Redirect(self.links)
        card: list[Way] = [CardRules(self.journal), CardHash(self.journal)]
        masks = Masks(self.journal)
        by_choice: dict[Choice, list[Way]] = {
            Choice.AUTO: [*card, self.redirect, masks],
            Choice.NIC: card,
            Choice.XDP: [self.redirect],
            Choice.RPS: [masks],
        }
        self.ways = by_choice[choice]

    async def sweep(self) -> None:
        """Undo what a daemon that crashed has left."""
        for name in await self.links.detach_ours():
            log.warning("the XDP program of an earlier daemon is taken off %s", name)
        for change in self.journal.undo_all():
            log.warning("undone, of an earlier daemon: %s", change)

    async def close(self) -> None:
        try:
            self.journal.undo_all()
            await self.links.detach_ours()
        finally:
            self.links.close()
            self.redirect.close()


class KernelSteering:
    """ikeclone.steering.Steering by the network card, by XDP, or by the kernel's masks."""

    def __init__(self, settings: Settings) -> None:
        self._choice = settings.choice
        self._system: _System | None = None
        self._devices: dict[int, _Device] = {}
        self._arrivals: dict[int, Arrival] = {}
        self._paths: Counter[Path] = Counter()

    async def start(self) -> None:
        self._system = _System(self._choice)
        await self._system.sweep()

    async def stop(self) -> None:
        system, self._system = self._system, None
        self._devices.clear()
        self._arrivals.clear()
        self._paths.clear()
        if system is not None:
            await system.close()

    async def steer(self, arrival: Arrival) -> None:
        system = self._running()
        await self.release(arrival.spi)
        self._arrivals[arrival.spi] = arrival
        self._paths[arrival.path] += 1
        link = await system.links.towards(arrival.path)
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
            self._paths -= Counter([arrival.path])
        for way in system.ways:
            await way.remove(spi)
        for device in self._devices.values():
            device.spis.pop(spi, None)

    def describe(self) -> Mapping[str, str]:
        devices = "; ".join(map(str, self._devices.values()))
        return {"receive steering": devices or "from the first clone on, on the device of its peer"}

    async def survey(self) -> Mapping[str, str]:
        system = _System(Choice.AUTO)
        try:
            links = [link for link in await system.links.all() if not link.loopback]
            return {
                link.name: f"{await _prospects(system.ways, link)}; receive queues: {link.queues}, MTU {link.mtu}"
                for link in links
            }
        finally:
            system.links.close()

    def _running(self) -> _System:
        if self._system is None:
            raise SteeringError("the steering is not started")
        return self._system


async def _prospects(ways: Iterable[Way], link: Link) -> str:
    """The first way that a device has, and why not those before it."""
    refusals: dict[str, str] = {}
    for way in ways:
        try:
            return await way.prospect(link) + _instead_of(refusals)
        except SteeringError as error:
            refusals[way.title] = str(error)
    return "none" + _instead_of(refusals)


def _instead_of(refusals: Mapping[str, str]) -> str:
    reasons = "; ".join(f"{title}: {reason}" for title, reason in refusals.items())
    return f" (not {reasons})" if reasons else ""
