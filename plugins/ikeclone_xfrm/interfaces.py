"""XFRM interfaces, network devices of a tunnel's own: `ipsecN`, whose states and policies have N as their if_id."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import Any, Final

from pyroute2.netlink.exceptions import NetlinkError

from ikeclone.backend import BackendError, Interface, Mode, Policy

_OURS: Final = "ikeclone"  # the alias of a device that we have made, also of one that a crash has left


class Interfaces:
    """The devices of all connections. Those that are there already are used, and left as they are."""

    def __init__(self, netlink: Any) -> None:
        self._netlink = netlink
        self._users: dict[str, Interface] = {}

    async def sweep(self) -> None:
        """Remove every device that we have made, also what a daemon that crashed has left."""
        for link in [link async for link in await self._netlink.get_links(kind="xfrm")]:
            if link.get("ifalias") == _OURS:
                await self._remove(link["index"])

    async def open(self, policy: Policy) -> int:
        """The index of a policy's device, which is made if need be; raises BackendError when it cannot be had."""
        interface = policy.handling.interface
        assert interface is not None
        if policy.mode is not Mode.TUNNEL:
            raise BackendError("ipsec-interface= is for type=tunnel")
        if any(policy.path.remote in network for selector in policy.remote for network in selector.networks()):
            raise BackendError(
                f"the peer's own address is behind {interface.name}: its ESP would be led into the tunnel again"
            )
        index = await self._find(interface)
        self._users[policy.connection] = interface
        return await self._make(interface) if index is None else index

    async def close(self, connection: str) -> None:
        """Undo `open`; a device that other connections use stays."""
        interface = self._users.pop(connection, None)
        if interface is None or any(other.number == interface.number for other in self._users.values()):
            return
        with suppress(NetlinkError):
            for link in await self._netlink.link("get", ifname=interface.name):
                if link.get("ifalias") == _OURS:
                    await self._remove(link["index"])

    async def _find(self, interface: Interface) -> int | None:
        try:
            (link,) = await self._netlink.link("get", ifname=interface.name)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise BackendError(f"no look at {interface.name}: {error.args[-1]}") from error
        if link.get(("linkinfo", "data", "xfrm_if_id")) != interface.number:
            raise BackendError(f"there is a device {interface.name}, but it is no XFRM interface {interface.number}")
        return int(link["index"])

    async def _make(self, interface: Interface) -> int:
        name = interface.name
        try:
            await self._netlink.link("add", ifname=name, kind="xfrm", xfrm_if_id=interface.number)
            (link,) = await self._netlink.link("get", ifname=name)
            index = int(link["index"])
            await self._netlink.link("set", index=index, ifalias=_OURS)
            for address in interface.addresses:
                arguments = {"address": str(address.ip), "prefixlen": address.network.prefixlen}
                await self._netlink.addr("add", index=index, **arguments)
            await self._netlink.link("set", index=index, state="up")
        except NetlinkError as error:
            raise BackendError(f"the device {name} cannot be made: {error.args[-1]}") from error
        return index

    async def _remove(self, index: int) -> None:
        with suppress(NetlinkError):
            await self._netlink.link("del", index=index)
