"""The steering: an XDP program on each device that peers are reached by."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from ikeclone.steering import Arrival, SteeringError
from ikeclone_steering.links import Link, Links
from ikeclone_steering.xdp import Table

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Device:
    """`mode` is None when its packets cannot be steered; `reason` is why."""

    name: str
    mode: str | None = None
    reason: str = ""
    spis: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        if self.mode is None:
            return f"none on {self.name}: {self.reason}"
        return f"XDP ({self.mode}) on {self.name}, by SPI to the CPU of its clone: {len(self.spis)} SPIs"


class XdpSteering:
    """ikeclone.steering.Steering by the kernel's XDP: one program and its maps serve all devices."""

    def __init__(self) -> None:
        self._devices: dict[int, _Device] = {}
        self._links: Links | None = None
        self._table: Table | None = None

    async def start(self) -> None:
        self._links, self._table = Links(), None
        try:
            for link in await self._links.all():
                if await self._links.detach(link.index):
                    log.warning("the XDP program of an earlier daemon is taken off %s", link.name)
            self._table = Table()
        except SteeringError:
            await self.stop()
            raise

    async def stop(self) -> None:
        links, table, self._links, self._table = self._links, self._table, None, None
        if links is not None:
            for index, device in self._devices.items():
                if device.mode is not None:
                    await links.detach(index)
            links.close()
        self._devices.clear()
        if table is not None:
            table.close()

    async def steer(self, arrival: Arrival) -> None:
        links, table = self._running()
        await self.release(arrival.spi)
        device = await self._device(await links.towards(arrival.path))
        if device.mode is not None:
            table.put(arrival.spi, arrival.cpu)
            device.spis.add(arrival.spi)

    async def release(self, spi: int) -> None:
        _, table = self._running()
        table.remove(spi)
        for device in self._devices.values():
            device.spis.discard(spi)

    def describe(self) -> Mapping[str, str]:
        devices = "; ".join(map(str, self._devices.values()))
        return {"receive steering": devices or "XDP, on the device of the first clone's peer"}

    async def survey(self) -> Mapping[str, str]:
        links = Links()
        try:
            Table().close()
            return {link.name: _prospect(link) for link in await links.all() if not link.loopback}
        finally:
            links.close()

    def _running(self) -> tuple[Links, Table]:
        if self._links is None or self._table is None:
            raise SteeringError("the steering is not started")
        return self._links, self._table

    async def _device(self, link: Link) -> _Device:
        """The device with the program on it, or with the reason why not."""
        if link.index in self._devices and self._devices[link.index].name == link.name:
            return self._devices[link.index]
        links, table = self._running()
        device = self._devices[link.index] = _Device(link.name)
        try:
            device.mode = await links.attach(link, table.program)
        except SteeringError as error:
            device.reason = str(error)
        log.info("receive steering: %s", device)
        return device


def _prospect(link: Link) -> str:
    """What the steering would find on a device. The driver is not tried: many stop their traffic to take a program."""
    rest = f"receive queues: {link.queues}, MTU {link.mtu}"
    if link.program is None:
        return f"XDP, in the driver if that can, else before the protocols; {rest}"
    return f"none: it has another XDP program: {link.foreign}; {rest}" if link.foreign else f"XDP, in use; {rest}"
