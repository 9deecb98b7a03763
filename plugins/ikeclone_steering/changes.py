"""Whether routes or devices have changed since one last asked."""

from __future__ import annotations

import socket
from typing import Final

# RTMGRP_LINK, RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE, RTMGRP_IPV6_ROUTE and RTNLGRP_IPV6_RULE (linux/rtnetlink.h)
_GROUPS: Final = 0x1 | 0x40 | 0x80 | 0x400 | 1 << 18


class Changes:
    """The kernel's news of this network namespace. What they say does not matter, so none is too many."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self._socket.bind((0, _GROUPS))

    def any(self) -> bool:
        """Whether there are news; they are gone then."""
        found = False
        while True:
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return found
            except OSError:  # ENOBUFS: more than it could keep
                pass
            found = True

    def close(self) -> None:
        self._socket.close()
