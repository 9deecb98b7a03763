"""A listener to acquires that takes none, so that a CPU whose clone is being negotiated loses no packet.

When a packet leaves on a CPU that has no state of its own, the kernel asks the key managers for one and, once it has
told them, keeps a larval state until they answer. While that is there, other packets, of this CPU and of all others
that lack a state, are dropped, although the fallback could carry them. But if telling them fails, the kernel makes no
larval state, and the packet leaves through the fallback, as does the next. A listener with NETLINK_BROADCAST_ERROR
whose queue is full makes telling fail, while all other listeners still hear of it.

Only acquires for one CPU under our own policies are declined so: the filter keeps all others from this socket. An
acquire without a fallback has its larval state as usual, which holds back further ones.
"""

from __future__ import annotations

import socket
from typing import Final

from pyroute2.netlink import NETLINK_ADD_MEMBERSHIP, NETLINK_XFRM, SOL_NETLINK

from ikeclone.bpf.classic import (
    AND,
    FIND_ATTRIBUTE,
    IF_EQUAL,
    INDEX_A,
    INDEX_NUMBER,
    LOAD_AT_INDEX,
    LOAD_NUMBER,
    LOAD_WORD,
    RETURN,
    WHOLE,
    Instruction,
    as_loaded,
    filter_socket,
)
from ikeclone_xfrm.numbers import NETLINK_BROADCAST_ERROR, XFRMA_SA_PCPU, XFRMA_TMPL, Group
from ikeclone_xfrm.policies import REQID_BASE, REQID_MASK

_HEADERS: Final = 16 + 280  # struct nlmsghdr and struct xfrm_user_acquire
_REQID: Final = 4 + 44  # where a template's attribute has its reqid


class Decliner:
    """Declines from when it is made until `close`. Raises OSError without CAP_NET_ADMIN."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_XFRM)
        try:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_BROADCAST_ERROR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            self._socket.bind((0, 0))
            self._fill()
            filter_socket(self._socket, _wanted())
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, Group.ACQUIRE)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def _fill(self) -> None:
        """Send messages to ourselves until there is no room for another."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.sendto(bytes(16), self._socket.getsockname())
        except BlockingIOError:
            return


def _wanted() -> list[Instruction]:
    """A filter for acquires that name a CPU, under a policy whose reqid is ours."""
    base, mask = as_loaded(REQID_BASE), as_loaded(REQID_MASK)
    return [
        (LOAD_NUMBER, 0, 0, _HEADERS),
        (INDEX_NUMBER, 0, 0, XFRMA_SA_PCPU),
        (LOAD_WORD, 0, 0, FIND_ATTRIBUTE),
        (IF_EQUAL, 8, 0, 0),
        (LOAD_NUMBER, 0, 0, _HEADERS),
        (INDEX_NUMBER, 0, 0, XFRMA_TMPL),
        (LOAD_WORD, 0, 0, FIND_ATTRIBUTE),
        (INDEX_A, 0, 0, 0),
        (LOAD_AT_INDEX, 0, 0, _REQID),
        (AND, 0, 0, mask),
        (IF_EQUAL, 0, 1, base),
        (RETURN, 0, 0, WHOLE),
        (RETURN, 0, 0, 0),
    ]
