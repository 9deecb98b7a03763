"""The network device that has an address of this host."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, if_indextoname

from pyroute2 import AsyncIPRoute

from ikeclone.updown import IPAddress


async def device_of(address: IPAddress) -> str | None:
    """Its name; None when no device has the address any more."""
    async with AsyncIPRoute() as netlink:
        family = AF_INET if address.version == 4 else AF_INET6
        found = [each async for each in await netlink.addr("dump", family=family)]
    text = str(address)
    indexes = [each["index"] for each in found if text in (each.get("IFA_LOCAL"), each.get("IFA_ADDRESS"))]
    try:
        return if_indextoname(indexes[0]) if indexes else None
    except OSError:
        return None
