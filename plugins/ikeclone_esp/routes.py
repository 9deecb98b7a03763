"""The system's configuration around the TUN: its link, routes into it, and rules that keep our own packets out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from socket import AF_INET, AF_INET6, IPPROTO_UDP
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ikeclone import route_news
from ikeclone.backend import BackendError, IPAddress, IPNetwork, Path, Policy
from ikeclone_esp.ciphers import Aead, inner_mtu
from ikeclone_esp.frames import MOST_ROWS
from ikeclone_esp.paths import LARGEST

log = logging.getLogger(__name__)

TABLE: Final = 9611  # our routes' own table, so that they hide nothing and nobody's flushing takes them
_PRIORITY_BYPASS, _PRIORITY_TUNNEL = 9610, 9611
_MAIN: Final = 254
_ESP: Final = 50
_RAW_ESP: Final = 0
_UDP_HEADERS: Final = {4: 20 + 8, 6: 40 + 8}
_USUAL_MTU: Final = 1500
_SMALLEST_MTU: Final = 1280
_TCP_HEADERS: Final = 52  # IPv4 and TCP with timestamps

_TUNNEL_RULES: Final = [{"family": each, "table": TABLE, "priority": _PRIORITY_TUNNEL} for each in (AF_INET, AF_INET6)]

_Bypass = tuple[IPAddress, str, int]


def tunnel_mtu(outer: int, version: int) -> int:
    """The inner MTU for an outer one. A multiple of 8 of TCP payload keeps the columns of segments aligned."""
    mtu = inner_mtu(min(outer - _UDP_HEADERS[version], LARGEST))
    return max(mtu - (mtu - _TCP_HEADERS) % 8, _SMALLEST_MTU)


def segments(mtu: int) -> int:
    """How many full segments leave in one send; super packets of the TUN are limited to that."""
    return max(1, min(MOST_ROWS, LARGEST // (mtu + 5 + Aead.overhead)))


class Routes:
    """Link, rules and routes of one TUN device. Methods raise BackendError when the system refuses."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._netlink: Any = AsyncIPRoute()
        self._index = 0
        self._policies: dict[str, Policy] = {}
        self._mtus: dict[str, int] = {}
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Bring the device up and have the tunnel's table consulted before the system's."""
        (self._index,) = await self._netlink.link_lookup(ifname=self._device)
        await self._set_mtu()
        await self._do("link", "set", index=self._index, state="up", txqlen=1000)
        for rule in _TUNNEL_RULES:
            await self._do("rule", "add", **rule)

    async def stop(self) -> None:
        """Take everything back; the routes go with the device too."""
        async with self._changing:
            for connection in list(self._policies):
                await self._remove(connection)
        for rule in _TUNNEL_RULES:
            await self._do("rule", "del", **rule)
        self._netlink.close()

    async def add(self, policy: Policy) -> None:
        """Route a policy's remote networks into the TUN, in place of the connection's former policy.

        What both have in common stays there all the time: no packet may leave in the clear meanwhile.
        """
        async with self._changing:
            await self._add(policy)

    async def remove(self, connection: str) -> None:
        """Undo `add`, except for what other connections need as well."""
        async with self._changing:
            await self._remove(connection)

    async def watch(self) -> None:
        """Put back what others take, until cancelled."""
        await route_news.keep(self._restore)

    async def _add(self, policy: Policy) -> None:
        bypasses, networks = self._bypasses(), self._networks()
        addresses = self._addresses()
        own = _networks([policy]) - _networks(p for p in self._policies.values() if p.connection != policy.connection)
        self._policies[policy.connection] = policy
        try:
            for bypass in self._bypasses() - bypasses:
                await self._bypass("add", bypass)
            for address in self._addresses() - addresses:
                await self._address("add", address)
            for network in own:
                await self._route("replace", network, policy.source_for(network.version))
            self._mtus[policy.connection] = await self._path_mtu(policy.path)
            await self._set_mtu()
        except BackendError:
            await self._remove(policy.connection)
            raise
        finally:
            await self._withdraw(networks, bypasses, addresses)

    async def _remove(self, connection: str) -> None:
        bypasses, networks, addresses = self._bypasses(), self._networks(), self._addresses()
        if self._policies.pop(connection, None) is None:
            return
        self._mtus.pop(connection, None)
        await self._withdraw(networks, bypasses, addresses)
        await self._set_mtu()

    async def _withdraw(self, networks: set[IPNetwork], bypasses: set[_Bypass], addresses: set[IPAddress]) -> None:
        """Take back those of these routes, rules and addresses that no connection needs any more."""
        for network in networks - self._networks():
            await self._route("del", network, None)
        for address in addresses - self._addresses():
            await self._address("del", address)
        for bypass in bypasses - self._bypasses():
            await self._bypass("del", bypass)

    def _networks(self) -> set[IPNetwork]:
        return _networks(self._policies.values())

    def _addresses(self) -> set[IPAddress]:
        return {address for policy in self._policies.values() for address in policy.addresses}

    async def _address(self, command: str, address: IPAddress) -> None:
        await self._do("addr", command, index=self._index, address=str(address), prefixlen=address.max_prefixlen)

    def _bypasses(self) -> set[_Bypass]:
        """Peers and what must not be tunnelled to them: raw ESP (port 0) and UDP from or to a port.

        An SA may send from a port of its own, but not to one. Where peers have given us addresses, packets that have
        another one of ours already are not for the tunnel.
        """
        paths = [policy.path for policy in self._policies.values()]
        sources = {(path.remote, "sport", port) for path in paths for port in (_RAW_ESP, 500, 4500, path.local_port)}
        own = {(policy.path.local, "src", 0) for policy in self._policies.values() if policy.addresses}
        return own | sources | {(path.remote, "dport", port) for path in paths for port in (4500, path.remote_port)}

    async def _bypass(self, command: str, bypass: _Bypass) -> None:
        await self._do("rule", command, **_bypass_rule(bypass))

    async def _route(self, command: str, network: IPNetwork, source: IPAddress | None) -> None:
        await self._do("route", command, **self._way(network, source))

    def _way(self, network: IPNetwork, source: IPAddress | None) -> dict[str, Any]:
        """A network's route."""
        preferred = {"prefsrc": str(source)} if source is not None and source.version == network.version else {}
        return {"dst": str(network), "oif": self._index, "table": TABLE, **preferred}

    async def _restore(self) -> list[str]:
        """Add what is not there any more, first what keeps the tunnel's own packets out of it; what that is."""
        async with self._changing:
            rules = [*map(_bypass_rule, self._bypasses()), *_TUNNEL_RULES]
            lost = [rule for rule in rules if await self._is_new("rule", rule)]
            sources = [(policy, _networks([policy])) for policy in self._policies.values()]
            ways = {net: self._way(net, policy.source_for(net.version)) for policy, nets in sources for net in nets}
            routes = [net for net, way in ways.items() if await self._is_new("route", way)]
        return [f"{len(lost)} rules of the tunnel"] * bool(lost) + [f"the route to {net}" for net in routes]

    async def _is_new(self, what: str, arguments: dict[str, Any]) -> bool:
        """Add it; whether it was not there. What cannot be added now can be when devices or addresses are back."""
        try:
            await getattr(self._netlink, what)("add", **arguments)
        except NetlinkError:
            return False
        return True

    async def _path_mtu(self, path: Path) -> int:
        """The inner MTU for a path, from the interface it leaves by."""
        outer = _USUAL_MTU
        query = {"dst": str(path.remote), "ip_proto": IPPROTO_UDP, "sport": path.local_port}
        with suppress(NetlinkError):  # no route to the peer at present
            for route in await self._netlink.route("get", **query):
                for link in await self._netlink.link("get", index=route.get("oif")):
                    outer = link.get("mtu")
        return tunnel_mtu(outer, path.remote.version)

    async def _set_mtu(self) -> None:
        mtu = min(self._mtus.values(), default=tunnel_mtu(_USUAL_MTU, 6))
        count = segments(mtu)
        largest = min(65536, count * (mtu - _TCP_HEADERS) + _TCP_HEADERS)
        await self._do("link", "set", index=self._index, mtu=mtu, gso_max_size=largest, gso_max_segs=count)

    async def _do(self, what: str, command: str, **arguments: Any) -> None:
        try:
            await getattr(self._netlink, what)(command, **arguments)
        except NetlinkError as error:
            if command == "del" or (what == "rule" and command == "add" and error.code == 17):
                log.debug("%s %s %s: %s", what, command, arguments, error)
                return
            raise BackendError(f"cannot {command} {_describe(what, arguments)}: {error.args[-1]}") from error


def _networks(policies: Iterable[Policy]) -> set[IPNetwork]:
    """What is behind the tunnels of these policies."""
    return {network for policy in policies for selector in policy.remote for network in selector.networks()}


def _bypass_rule(bypass: _Bypass) -> dict[str, Any]:
    """A rule for the tunnel's own packets: their peer may lie within the networks behind the tunnel, or be all of what
    is behind it."""
    address, end, port = bypass
    side = "src" if end == "src" else "dst"
    rule = {"family": AF_INET if address.version == 4 else AF_INET6, "table": _MAIN, "priority": _PRIORITY_BYPASS,
            side: str(address), f"{side}_len": address.max_prefixlen}  # fmt: skip
    if side == "src":
        return rule
    if port == _RAW_ESP:
        return {**rule, "ip_proto": _ESP}
    return {**rule, "ip_proto": IPPROTO_UDP, f"{end}_range": f"{port}:{port}"}


def _describe(what: str, arguments: dict[str, Any]) -> str:
    told = ("dst", "prefsrc", "mtu", "address")
    kept: Iterable[str] = (f"{key} {value}" for key, value in arguments.items() if key in told)
    return " ".join([f"the TUN's {what}", *kept])
