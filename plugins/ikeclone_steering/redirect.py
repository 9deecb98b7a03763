"""Steering by an XDP program on the device: the CPU of the clone goes on with each packet, which its SPI tells."""

from __future__ import annotations

from ikeclone.steering import Arrival, SteeringError
from ikeclone_steering.links import Link, Links
from ikeclone_steering.ways import Remembered
from ikeclone_steering.xdp import Table


class Redirect:
    """One program and its maps serve all devices."""

    title = "XDP"
    looks_into_udp = True

    def __init__(self, links: Links) -> None:
        self._links = links
        self._table: Remembered[None, Table] = Remembered()
        self._attached: Remembered[int, str] = Remembered()

    async def put(self, link: Link, arrival: Arrival) -> str:
        table = await self._table.get(None, _table)
        mode = await self._attached.get(link.index, lambda: self._links.attach(link, table.programs))
        table.put(arrival.spi, arrival.cpu)
        return f"XDP ({mode}) on {link.name}, by SPI to the CPU of its clone"

    async def remove(self, spi: int) -> None:
        for table in self._table.values():
            table.remove(spi)

    async def prospect(self, link: Link) -> str:
        """The driver is not tried: many stop their traffic to take a program."""
        if link.loopback:
            raise SteeringError("packets of the loopback device stay on their CPU")
        if link.foreign:
            raise SteeringError(f"it has another XDP program: {link.foreign}")
        (await _table()).close()
        return "XDP, in the driver if that can, else before the protocols" if link.program is None else "XDP, in use"

    def close(self) -> None:
        for table in self._table.values():
            table.close()


async def _table() -> Table:
    return Table()
