"""Network devices and their XDP programs, over netlink."""

from __future__ import annotations

import errno
import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, XDP_FLAGS_UPDATE_IF_NOEXIST

from ikeclone.bpf import Program, name_of
from ikeclone.steering import Path, SteeringError
from ikeclone_steering.netdev import Device, dump

# Linux 5.15 is the first that goes on with the packets that a generic program sends to a cpumap; others drop them.
_GENERIC_SINCE: Final = (5, 15)
_MODES: Final = {"native": XDP_FLAGS_DRV_MODE, "generic": XDP_FLAGS_SKB_MODE}
_OURS: Final = ("ikeclone_steer", "ikeclone_inside")  # by these the next daemon knows what a crash has left
_LOOPBACK: Final = 0x8  # IFF_LOOPBACK


@dataclass(frozen=True, slots=True)
class Link:
    """A network device, how many queues its packets arrive in, and the number of its XDP program, or None."""

    index: int
    name: str
    loopback: bool
    queues: int
    mtu: int
    program: int | None

    @property
    def foreign(self) -> str | None:
        """The name of its program, if that is not ours."""
        if self.program is None:
            return None
        try:
            name = name_of(self.program)
        except OSError as error:
            return f"one that cannot be looked at ({error.strerror})"
        return None if name in _OURS else name or "one without a name"


class Links:
    """The devices of this network namespace. Methods raise SteeringError when the system refuses."""

    def __init__(self) -> None:
        self._netlink: Any = AsyncIPRoute()

    async def all(self) -> list[Link]:
        return [_link(message) async for message in await self._netlink.get_links()]

    async def get(self, index: int) -> Link:
        """Raises SteeringError when the device has gone."""
        try:
            (link,) = [_link(message) async for message in await self._netlink.get_links(index)]
        except NetlinkError as error:
            raise SteeringError("the device is gone") from error
        return link

    async def towards(self, path: Path) -> Link:
        """The device by which the peer is reached."""
        try:
            for route in await self._netlink.route("get", dst=str(path.remote)):
                return await self.get(route.get("oif"))
        except NetlinkError as error:
            raise SteeringError(f"no route to {path.remote}: {error.args[-1]}") from error
        raise SteeringError(f"no route to {path.remote}")

    async def attach(self, link: Link, programs: Mapping[str, Program]) -> str:
        """Give a device the program, in the driver or else before the protocols; returns "native" or "generic".

        Nobody's program is replaced.
        """
        if link.loopback:
            raise SteeringError("packets of the loopback device stay on their CPU")
        if (now := await self.get(link.index)).program is not None:
            raise SteeringError(f"it has another XDP program: {now.foreign or 'ours, for the other way'}")
        refusals = []
        for mode in await _modes(link):
            try:
                await self._set(link, programs[mode].fd, _MODES[mode] | XDP_FLAGS_UPDATE_IF_NOEXIST)
            except NetlinkError as error:
                refusals.append(f"{mode}: {error.args[-1] or os.strerror(error.code)}")
            else:
                return mode
        raise SteeringError(f"no XDP here ({'; '.join(refusals)})")

    async def detach(self, index: int) -> bool:
        """Take our program off a device; whether it had it. One that has gone needs nothing."""
        try:
            link = await self.get(index)
        except SteeringError:
            return False
        if link.program is None or link.foreign is not None:
            return False
        try:
            await self._set(link, -1, 0)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise SteeringError(f"the XDP program stays on {link.name}: {error.args[-1]}") from error
        return True

    async def detach_ours(self) -> list[str]:
        """Take our program off every device that has it; their names."""
        return [link.name for link in await self.all() if await self.detach(link.index)]

    async def _set(self, link: Link, fd: int, flags: int) -> None:
        attributes = [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", flags)]
        await self._netlink.link("set", index=link.index, xdp={"attrs": attributes})

    def close(self) -> None:
        self._netlink.close()


def _link(message: Any) -> Link:
    xdp = message.get_attr("IFLA_XDP")
    numbers: Iterable[str] = ("IFLA_XDP_PROG_ID", "IFLA_XDP_DRV_PROG_ID", "IFLA_XDP_SKB_PROG_ID")
    programs = [xdp.get_attr(name) for name in numbers] if xdp else []
    program = next((number for number in programs if number), None)
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        loopback=bool(message["flags"] & _LOOPBACK),
        queues=message.get_attr("IFLA_NUM_RX_QUEUES") or 1,
        mtu=message.get_attr("IFLA_MTU") or 0,
        program=program,
    )


async def _modes(link: Link) -> list[str]:
    """Where a program would work, best first. A driver that cannot redirect takes it, and drops what it redirects."""
    version = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
    features = [device.get_attr("XDP_FEATURES") for device in await dump(Device, link.index)]
    native = ["native"] if all(known & Device.REDIRECTS for known in features) else []
    return [*native, "generic"] if version >= _GENERIC_SINCE else native
