"""This host's addresses: which there are, which are fit to be the outside of tunnels, and news that they changed."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from ikeclone.selectors import IPAddress

# Linux values (rtnetlink(7), linux/if_addr.h) that the socket module does not name.
_GROUPS: Final = sum(1 << group - 1 for group in (1, 5, 7, 9, 11))  # links, addresses and routes, IPv4 and IPv6
_UNUSABLE: Final = 0x08 | 0x40  # somebody else has it, or it is not known yet whether anybody does
_DEPRECATED: Final = 0x20
_UP, _LOOPBACK = 0x1, 0x8
_NARROW: Final = 253  # the scope of addresses for one link or host

_INNER: Final = ("tun", "xfrm", "vti", "vti6", "dummy")  # devices whose addresses no peer reaches on the outside
_ELSEWHERE: Final = (ip_address("192.88.99.1"), ip_address("2001:db8::1"))  # nobody's: only default routes lead there
_SETTLING: Final = 0.2  # seconds: changes come in groups
_IKE_PORT: Final = 500


@dataclass(frozen=True, slots=True)
class Addresses:
    """`all` that can be bound to. `fit` are those that a tunnel may have by itself, the likeliest first; `sources` says
    which one packets to a peer would have."""

    all: frozenset[IPAddress] = frozenset()
    fit: tuple[IPAddress, ...] = ()
    sources: Mapping[IPAddress, IPAddress] = field(default_factory=dict)


async def look(peers: Iterable[IPAddress] = ()) -> Addresses:
    """The addresses of this host, in this network namespace, and how it would send to these peers."""
    async with AsyncIPRoute() as netlink:
        links = {link["index"]: link async for link in await netlink.link("dump") if link["flags"] & _UP}
        found = [each async for each in await netlink.addr("dump") if _is_usable(each, links)]
        likely = [await _source(netlink, peer) for peer in _ELSEWHERE]
        sources = {peer: source for peer in peers if (source := await _source(netlink, peer)) is not None}
    fit = [each for each in found if each["scope"] < _NARROW and _is_outer(links[each["index"]])]
    likely += dict.fromkeys(sources.values())
    fit.sort(key=lambda each: (bool(each["flags"] & _DEPRECATED), _rank(_address(each), likely)))
    return Addresses(frozenset(map(_address, found)), tuple(dict.fromkeys(map(_address, fit))), sources)


def _rank(address: IPAddress, likely: Sequence[IPAddress | None]) -> int:
    return likely.index(address) if address in likely else len(likely)


def _is_outer(link: Any) -> bool:
    info = link.get("linkinfo")
    kind = info.get("kind") if info is not None else None
    return not link["flags"] & _LOOPBACK and kind not in _INNER


def _is_usable(found: Any, links: Mapping[int, Any]) -> bool:
    return found["index"] in links and not found["flags"] & _UNUSABLE


def _address(found: Any) -> IPAddress:
    return ip_address(found.get("IFA_LOCAL") or found.get("IFA_ADDRESS"))


async def _source(netlink: Any, peer: IPAddress) -> IPAddress | None:
    """The source address of IKE to a peer, or None without a route."""
    with suppress(NetlinkError):
        for route in await netlink.route("get", dst=str(peer), ip_proto=socket.IPPROTO_UDP, sport=_IKE_PORT):
            if (source := route.get("prefsrc")) is not None:
                return ip_address(source)
    return None


class AddressNews:
    """News from the kernel that addresses, devices or routes are others.

    What the news says is not read, as `look` finds everything: any amount of it, lost news included, is one look.
    """

    def __init__(self) -> None:
        self._socket = _listening()

    def close(self) -> None:
        self._socket.close()

    async def wait(self) -> None:
        """Wait until something has changed, and a moment more for what changes with it."""
        try:
            await asyncio.get_running_loop().sock_recv(self._socket, 1)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more news than the socket holds is news, too
                raise
        await asyncio.sleep(_SETTLING)
        # With a new socket all that is known by the next look is forgotten.
        self._socket.close()
        self._socket = _listening()


def _listening() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.setblocking(False)
    sock.bind((0, _GROUPS))
    return sock
