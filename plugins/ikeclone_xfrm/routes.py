"""Routes to the networks behind the peers: a packet that the system has no route for never meets a policy."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from socket import AF_INET, AF_INET6
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ikeclone import route_news
from ikeclone.backend import BackendError, IPAddress, IPNetwork, Mode, Policy
from ikeclone_xfrm.addresses import Addresses
from ikeclone_xfrm.interfaces import Interfaces
from ikeclone_xfrm.structs import family

TABLE: Final = 9611  # our routes' own table, so that they hide nothing and nobody's flushing takes them
PRIORITY: Final = 9611


@dataclass(frozen=True, slots=True)
class _Route:
    """Where packets for a network leave; the kernel's IPsec takes them before they do."""

    network: IPNetwork
    device: int
    gateway: str | None
    source: str | None


class Routes:
    """The routes of all connections. Methods raise BackendError when the system refuses."""

    def __init__(self) -> None:
        self._netlink: Any = AsyncIPRoute()
        self._interfaces, self._addresses = Interfaces(self._netlink), Addresses(self._netlink)
        self._routes: dict[str, list[_Route]] = {}
        self._families: set[int] = set()
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Remove what a daemon that crashed has left."""
        await self._interfaces.sweep()
        await self._addresses.sweep()
        for number in (AF_INET, AF_INET6):
            with suppress(NetlinkError):
                await self._netlink.flush_routes(table=TABLE, family=number)
            with suppress(NetlinkError):
                await self._netlink.rule("del", family=number, table=TABLE, priority=PRIORITY)

    async def stop(self) -> None:
        """Take everything back."""
        for connection in list(self._routes):
            await self.remove(connection)
        await self._interfaces.sweep()
        for number in self._families:
            with suppress(NetlinkError):
                await self._netlink.rule("del", family=number, table=TABLE, priority=PRIORITY)
        self._families.clear()

    def close(self) -> None:
        self._netlink.close()

    async def watch(self) -> None:
        """Put back what others take, until cancelled."""
        await route_news.keep(self._restore)

    async def add(self, policy: Policy) -> None:
        """Route a policy's remote networks the way to the peer, or to the device of its own, in place of the
        connection's former ones, with the addresses that the policy has.
        """
        async with self._changing:
            await self._addresses.give(policy)
            await self._lead(policy)
            await self._addresses.keep(policy.connection, policy.addresses)

    async def _lead(self, policy: Policy) -> None:
        # Before the way to the peer is looked up: it may be among the networks behind itself.
        await self._forget(policy.connection)
        device, gateway = await self._way(policy)
        if policy.mode is not Mode.TUNNEL:
            return
        if device is None:
            return
        routes = self._routes[policy.connection] = []
        for network in dict.fromkeys(network for selector in policy.remote for network in selector.networks()):
            same = network.version == policy.path.remote.version
            source = policy.source_for(network.version)
            route = _Route(network, device, gateway if same else None, None if source is None else str(source))
            await self._consult(family(network.network_address))
            await self._change("replace", route)
            routes.append(route)

    async def remove(self, connection: str) -> None:
        """Undo `add`, except for what other connections need as well."""
        async with self._changing:
            await self._forget(connection)
            await self._addresses.keep(connection, ())
            await self._interfaces.close(connection)

    async def _forget(self, connection: str) -> None:
        for route in self._routes.pop(connection, ()):
            if not any(route.network == other.network for others in self._routes.values() for other in others):
                with suppress(BackendError):
                    await self._change("del", route)

    async def _way(self, policy: Policy) -> tuple[int | None, str | None]:
        if policy.handling.interface is None:
            return await self.way_to(policy.path.remote)
        return await self._interfaces.open(policy), None

    async def way_to(self, remote: IPAddress) -> tuple[int | None, str | None]:
        """The device and the gateway by which packets for an address leave now."""
        try:
            for route in await self._netlink.route("get", dst=str(remote)):
                return route.get("oif"), route.get("gateway")
        except NetlinkError:
            pass  # no way to the peer at present: its networks have none either
        return None, None

    async def _consult(self, number: int) -> None:
        """Have our table looked at before the system's."""
        if number in self._families:
            return
        try:
            await self._rule(number)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise BackendError(f"no rule for the routing table {TABLE}: {error.args[-1]}") from error
        self._families.add(number)

    async def _change(self, command: str, route: _Route) -> None:
        try:
            await self._request(command, route)
        except NetlinkError as error:
            raise BackendError(f"cannot {command} the route to {route.network}: {error.args[-1]}") from error

    async def _restore(self) -> list[str]:
        """Add what is not there any more; what that is."""
        async with self._changing:
            rules = [each for each in self._families if await _done(self._rule(each))]
            routes = [each for all_of_one in self._routes.values() for each in all_of_one]
            lost = [each.network for each in routes if await _done(self._request("add", each))]
        return [f"the rule for the routing table {TABLE}"] * bool(rules) + [f"the route to {each}" for each in lost]

    def _rule(self, number: int) -> Awaitable[Any]:
        request: Awaitable[Any] = self._netlink.rule("add", family=number, table=TABLE, priority=PRIORITY)
        return request

    def _request(self, command: str, route: _Route) -> Awaitable[Any]:
        more = {"gateway": route.gateway, "prefsrc": route.source}
        arguments = {name: value for name, value in more.items() if value is not None}
        request: Awaitable[Any] = self._netlink.route(
            command, dst=str(route.network), oif=route.device, table=TABLE, **arguments
        )
        return request


async def _done(request: Awaitable[Any]) -> bool:
    """Whether the kernel did it. It does not what it has, nor what wants a device that is down: that comes up later."""
    try:
        await request
    except NetlinkError:
        return False
    return True
