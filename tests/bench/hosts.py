"""Endpoints on real UDP sockets, with data planes in memory that have as many CPUs as one wants."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address

from ikeclone.apply import apply
from ikeclone.backend import Acquire, Path
from ikeclone.connection import Auto, End
from ikeclone.credentials import Credentials
from ikeclone.ike.actions import Fetch, IkeKeyed, Report
from ikeclone.ike.endpoint import Endpoint
from ikeclone.ike.tunnel import Tunnel
from ikeclone.memory import MemoryBackend, Packet
from ikeclone.net import Net
from tests.pair.network import EAST_END, NAME, SECRET, WEST_END, connection

ADDRESSES = ip_address("127.0.0.1"), ip_address("127.0.0.2")
PACKET = 84  # octets
ESP_PORT = 4501  # for the stand-ins of ESP packets, which the data plane in memory does not send itself
SPI_SIZE = 4
PATIENCE = 60.0
IN_FLIGHT = 0.2  # seconds


@asynccontextmanager
async def running(west: int, east: int, **settings: object) -> AsyncIterator[tuple[Host, Host]]:
    """West and east with so many CPUs each and more settings of the connection, on loopback addresses."""
    hosts = Host(0, west, settings), Host(1, east, settings)
    try:
        for host in hosts:
            await host.open()
        tasks = [asyncio.create_task(host.work()) for host in hosts]
        yield hosts
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for host in hosts:
            await host.close()


async def sending(condition: Callable[[], bool], west: Host, east: Host, *, both: bool = False) -> float:
    """Send from each of west's CPUs, or of both sides', every few milliseconds until a condition holds; how long.

    Raises TimeoutError.
    """
    begin = time.monotonic()
    async with asyncio.timeout(PATIENCE):
        while not condition():
            west.send(east)
            if both:
                east.send(west)
            await asyncio.sleep(0.005)
    return time.monotonic() - begin


async def lost_packets(west: Host, east: Host) -> int:
    """How many packets have not arrived when the last ones have had the time to."""
    await asyncio.sleep(IN_FLIGHT)
    return west.left + east.left - west.arrived - east.arrived


class Host:
    """Does for an endpoint what the daemon does; `messages` counts the datagrams that it sent.

    `left` and `arrived` count the packets of the traffic that an SA took here, as the sender or as the receiver.
    """

    def __init__(self, index: int, cpus: int, settings: Mapping[str, object]) -> None:
        self.backend = MemoryBackend(frozenset(range(cpus)))
        self.endpoint = Endpoint(
            self.backend, os.urandom, partial(datetime.now, UTC), time.monotonic(), Credentials((SECRET,))
        )
        ends = [End(a, e.identity, e.selectors) for a, e in zip(ADDRESSES, (WEST_END, EAST_END), strict=True)]
        self._address = ADDRESSES[index]
        self._connection = connection(ends[index], ends[1 - index], clones=None, auto=Auto.ONDEMAND, **settings)
        self._net = Net(self._received)
        self._stirred = asyncio.Event()
        self._esp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.messages = self.left = self.arrived = 0

    @property
    def tunnel(self) -> Tunnel:
        return self.endpoint.tunnels[NAME]

    @property
    def sending(self) -> int:
        """How many CPUs send on a clone of their own."""
        return sum(cpu is not None for _, cpu in self.backend.outbound)

    async def open(self) -> None:
        """Listen, with the connection loaded."""
        self.endpoint.addresses([self._address], time.monotonic())
        self.endpoint.add(self._connection, time.monotonic())
        await self._net.open(self._address)
        self._esp.bind((str(self._address), ESP_PORT))
        asyncio.get_running_loop().add_reader(self._esp, self._receive_esp)

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._esp)
        self._esp.close()
        await self._net.close()

    async def work(self) -> None:
        """Do what is due and send what there is to send, until cancelled."""
        while True:
            self.endpoint.tick(time.monotonic())
            await self._settle()
            await self._wait()

    async def _settle(self) -> None:
        while actions := self.endpoint.actions():
            for action in actions:
                if not isinstance(action, Report | IkeKeyed | Fetch):
                    await apply(self.backend, action)
        for datagram in self.endpoint.datagrams():
            self.messages += 1
            await self._net.send(datagram)

    async def _wait(self) -> None:
        due = self.endpoint.timer()
        try:
            async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                await self._stirred.wait()
        except TimeoutError:
            return
        self._stirred.clear()

    def _received(self, data: bytes, path: Path) -> None:
        self.endpoint.receive(data, path, time.monotonic())
        self._stirred.set()

    def rekey(self) -> int:
        """Rekey every Child SA; returns how many that are."""
        rekeyed = self.tunnel.rekey(time.monotonic(), ike=False)
        self._stirred.set()
        return rekeyed

    def send(self, peer: Host) -> None:
        """A packet leaves on every CPU."""
        for cpu in self.backend.online:
            packet = self.backend.transmit(NAME, cpu, PACKET)
            if packet is not None:
                self.left += 1
                self._esp.sendto(packet.spi.to_bytes(SPI_SIZE, "big") + packet.key, (str(peer._address), ESP_PORT))
        while self.backend.events:
            event = self.backend.events.popleft()
            assert isinstance(event, Acquire)
            self.endpoint.acquire(event.connection, event.cpu, time.monotonic())
            self._stirred.set()

    def _receive_esp(self) -> None:
        """Take all that waits: a data plane is faster than IKE."""
        with suppress(BlockingIOError):
            while data := self._esp.recv(PACKET):
                packet = Packet(int.from_bytes(data[:SPI_SIZE], "big"), data[SPI_SIZE:], PACKET)
                self.arrived += self.backend.receive(packet) is not None
