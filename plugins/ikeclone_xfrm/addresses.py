"""This host's addresses inside tunnels, given by peers: on the loopback device, whatever way leads to the peer."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import Any, Final

from pyroute2.netlink.exceptions import NetlinkError

from ikeclone.backend import BackendError, IPAddress, Policy

_LOOPBACK: Final = 1
_OURS: Final = 96  # says who added an address (IFA_PROTO, Linux 5.18), also to a daemon that starts after a crash


class Addresses:
    """The addresses of all connections. One that the host has already is used, and left."""

    def __init__(self, netlink: Any) -> None:
        self._netlink = netlink
        self._users: dict[str, tuple[IPAddress, ...]] = {}
        self._added: set[IPAddress] = set()

    async def sweep(self) -> None:
        """Remove what an earlier daemon has left."""
        for address in [each async for each in await self._netlink.get_addr(index=_LOOPBACK)]:
            if address.get("proto") == _OURS:
                await self._delete(address.get("address"), address["prefixlen"])

    async def give(self, policy: Policy) -> None:
        """Let the host have a policy's addresses, beside the connection's former ones; raises BackendError."""
        former = self._users.get(policy.connection, ())
        for address in policy.addresses:
            if address not in self._added:
                await self._add(address)
        self._users[policy.connection] = tuple(dict.fromkeys((*policy.addresses, *former)))

    async def keep(self, connection: str, wanted: tuple[IPAddress, ...]) -> None:
        """Take back those of a connection's addresses that are not wanted any more, unless others use them."""
        self._users[connection] = wanted
        if not wanted:
            del self._users[connection]
        for address in self._added.difference(*self._users.values()):
            self._added.discard(address)
            await self._delete(str(address), address.max_prefixlen)

    async def _add(self, address: IPAddress) -> None:
        arguments = {"address": str(address), "prefixlen": address.max_prefixlen, "proto": _OURS}
        try:
            await self._netlink.addr("add", index=_LOOPBACK, **arguments)
        except NetlinkError as error:
            if error.code == errno.EEXIST:
                return
            raise BackendError(f"the address {address} cannot be added: {error.args[-1]}") from error
        self._added.add(address)

    async def _delete(self, address: str, length: int) -> None:
        with suppress(NetlinkError):
            await self._netlink.addr("del", index=_LOOPBACK, address=address, prefixlen=length)
