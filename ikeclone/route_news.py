"""Keeping the routes and rules of a data plane: others take them by name, or with a device or an address of theirs."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from typing import Final

from ikeclone.bpf.classic import (
    IF_EQUAL,
    LOAD_HALF,
    LOAD_OCTET,
    RETURN,
    WHOLE,
    Instruction,
    as_loaded,
    filter_socket,
)

log = logging.getLogger(__name__)

# RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE and IPV6_RULE (linux/rtnetlink.h)
_GROUPS: Final = sum(1 << group - 1 for group in (1, 5, 7, 8, 9, 11, 19))
_NEWLINK, _NEWADDR, _DELROUTE, _DELRULE = 16, 20, 25, 33
_COMPAT: Final = 252  # stands for the numbers of tables that do not fit an octet
_TYPE, _TABLE = 4, 16 + 4  # where a message has its type, and one of a route its table
_SETTLING: Final = 0.2  # seconds: changes come in groups
_BUFFER: Final = 4096


async def keep(restore: Callable[[], Awaitable[Iterable[str]]]) -> None:
    """Have a data plane put back what others take, until cancelled; `restore` returns what that was, in words.

    It is called at once, as packets may leave in the clear, and again a moment later, when devices are up.
    """
    with closing(_RouteNews()) as news:
        while True:
            await news.wait()
            _tell(await restore())
            await news.settle()
            _tell(await restore())


def _tell(taken: Iterable[str]) -> None:
    for what in taken:
        log.warning("somebody took %s: it is put back", what)


class _RouteNews:
    """Devices and addresses that come, rules that go, and routes of tables with large numbers that go."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        filter_socket(self._socket, _wanted())
        self._socket.bind((0, _GROUPS))

    def close(self) -> None:
        self._socket.close()

    async def wait(self) -> None:
        """Wait until there is news."""
        try:
            await asyncio.get_running_loop().sock_recv(self._socket, _BUFFER)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more news than the socket holds is news, too
                raise

    async def settle(self) -> None:
        """Wait a moment for what comes with it; there is no news then."""
        await asyncio.sleep(_SETTLING)
        while True:
            try:
                self._socket.recv(_BUFFER)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


def _wanted() -> list[Instruction]:
    return [
        (LOAD_HALF, 0, 0, _TYPE),
        (IF_EQUAL, 5, 0, as_loaded(_NEWLINK, 2)),
        (IF_EQUAL, 4, 0, as_loaded(_NEWADDR, 2)),
        (IF_EQUAL, 3, 0, as_loaded(_DELRULE, 2)),
        (IF_EQUAL, 0, 3, as_loaded(_DELROUTE, 2)),
        (LOAD_OCTET, 0, 0, _TABLE),
        (IF_EQUAL, 0, 1, _COMPAT),
        (RETURN, 0, 0, WHOLE),
        (RETURN, 0, 0, 0),
    ]
