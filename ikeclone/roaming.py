"""The daemon follows this host's addresses: it takes connections once theirs is there, listens, tells the endpoint."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterable
from typing import Final

from pyroute2.netlink.exceptions import NetlinkError

from ikeclone.addresses import Addresses, AddressNews, look
from ikeclone.backend import Backend
from ikeclone.config import Config, Conn
from ikeclone.config.models import ConnKeywords
from ikeclone.connection import Connection
from ikeclone.errors import ConfigError, LocalError
from ikeclone.ike.endpoint import Endpoint
from ikeclone.net import Net
from ikeclone.reports import describe
from ikeclone.selectors import IPAddress

log = logging.getLogger("ikeclone")

MAX_ADDRESSES: Final = 32  # that no connection names: each has sockets, and peers hear of it
MAX_PEERS: Final = 256  # for whom the way there is looked up


class Roaming:
    """Connections, sockets and the endpoint, as this host's addresses come and go."""

    def __init__(
        self, configuration: Config, net: Net, backend: Backend, endpoint: Endpoint, now: Callable[[], float]
    ) -> None:
        self._net, self._backend, self._endpoint, self._now = net, backend, endpoint, now
        self._listen = frozenset(configuration.setup.listen)
        self._waiting = list(configuration.active.values())
        self._peers = _peers(self._waiting)
        self._taken: list[Connection] = []
        # Why connections are left out, by name.
        self.left_out: dict[str, str] = {}
        self._one_at_a_time = asyncio.Lock()
        self._refused: set[IPAddress] = set()
        self._news = AddressNews()

    async def start(self) -> int:
        """Listen, and take the connections that can be: how many. Raises LocalError if they cannot be listened for."""
        await self._follow(await look(self._peers), first=True)
        return len(self._taken)

    async def run(self, told: Callable[[], None]) -> None:
        """Follow all changes until cancelled; `told` is called after each."""
        while True:
            await self._news.wait()
            try:
                await self._follow(await look(self._peers))
            except (LocalError, NetlinkError, OSError) as error:
                log.warning("this host's addresses are not followed for now: %s", error)
            told()

    async def change(self, gone: Container[str], new: Iterable[Conn], configuration: Config) -> None:
        """Follow another configuration: these connections are gone, and these are new."""
        self._taken = [connection for connection in self._taken if connection.name not in gone]
        self._waiting = [conn for conn in self._waiting if conn.name not in gone] + list(new)
        self.left_out = {name: why for name, why in self.left_out.items() if name not in gone}
        self._peers = _peers(configuration.active.values())
        await self._follow(await look(self._peers))

    def close(self) -> None:
        """Hear of no changes any more."""
        self._news.close()

    async def _follow(self, here: Addresses, *, first: bool = False) -> None:
        async with self._one_at_a_time:
            await self._adapt(here, first=first)

    async def _adapt(self, here: Addresses, *, first: bool) -> None:
        new = self._orient(here)
        self._taken += new
        wanted = self._wanted(here)
        for address in wanted:
            await self._open(address, first=first)
        self._tell([address for address in wanted if address in self._net.addresses], here)
        for connection in new:
            log.info("%s: %s", connection.name, describe(connection))
            self._endpoint.add(connection, self._now())
        await self._leave(self._net.addresses - here.all - set(self._endpoint.local_addresses()))

    def _orient(self, here: Addresses) -> list[Connection]:
        """The connections whose address is there now; the others wait, and are told of once."""
        waiting, self._waiting = self._waiting, []
        found = []
        for conn in waiting:
            try:
                found.append(conn.connection(here.all))
            except ConfigError as error:
                self._waiting.append(conn)
                if conn.name not in self.left_out:
                    log.warning("%s: left out until this changes", error)
                self.left_out[conn.name] = str(error)
            else:
                self.left_out.pop(conn.name, None)
        return found

    def _wanted(self, here: Addresses) -> list[IPAddress]:
        """The addresses to listen on: those that connections name, and others if a connection may have those too."""
        fixed = [connection.local.address for connection in self._taken]
        fit = here.fit[:MAX_ADDRESSES] if any(c.mobike or c.local.address is None for c in self._taken) else ()
        there = dict.fromkeys((*fit, *(address for address in fixed if address in here.all)))
        return [address for address in there if address is not None and address in (self._listen or there)]

    async def _open(self, address: IPAddress, *, first: bool) -> None:
        """Listen on an address. One that cannot be had is told of once, and at the start is an error if it is named."""
        if address in self._net.addresses:
            return
        try:
            for sock in await self._net.open(address):
                self._backend.share(sock)
        except LocalError as error:
            if first and any(connection.local.address == address for connection in self._taken):
                raise
            if address not in self._refused:
                log.warning("%s", error)
            self._refused.add(address)
        else:
            self._refused.discard(address)

    def _tell(self, addresses: list[IPAddress], here: Addresses) -> None:
        sources = {peer: source for peer, source in here.sources.items() if source in addresses}
        if (tuple(addresses), sources) == (self._endpoint.host.addresses, self._endpoint.host.sources):
            return
        log.info("addresses: %s", ", ".join(map(str, addresses)) or "none")
        self._endpoint.addresses(addresses, self._now(), sources)

    async def _leave(self, addresses: Iterable[IPAddress]) -> None:
        for address in addresses:
            await self._backend.unshare(address)
            await self._net.leave(address)


def _peers(conns: Iterable[Conn]) -> list[IPAddress]:
    """The peers that connections without an address of their own have, or those that may get others."""
    said = (conn.keywords for conn in conns)
    ends = [(keywords.left, keywords.right) for keywords in said if _may_move(keywords)]
    return list(dict.fromkeys(end.address for both in ends for end in both if end.address))[:MAX_PEERS]


def _may_move(keywords: ConnKeywords) -> bool:
    return keywords.mobike or keywords.left.is_default or keywords.right.is_default
