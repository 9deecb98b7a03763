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

import ctypes
import socket
import struct
from typing import Final

from pyroute2.netlink import NETLINK_ADD_MEMBERSHIP, NETLINK_XFRM, SOL_NETLINK

from ikeclone_xfrm.numbers import (
    NETLINK_BROADCAST_ERROR,
    SO_ATTACH_FILTER,
    XFRMA_SA_PCPU,
    XFRMA_TMPL,
    Group,
)
from ikeclone_xfrm.policies import REQID_BASE, REQID_MASK

_HEADERS: Final = 16 + 280  # struct nlmsghdr and struct xfrm_user_acquire
_REQID: Final = 4 + 44  # where a template's attribute has its reqid
# Classic BPF: linux/bpf_common.h, linux/filter.h
_LOAD_NUMBER, _INDEX_NUMBER, _INDEX_A, _LOAD_WORD, _LOAD_AT_INDEX = 0x00, 0x01, 0x07, 0x20, 0x40
_AND, _IF_EQUAL, _RETURN = 0x54, 0x15, 0x06
_FIND_ATTRIBUTE: Final = 0xFFFFF000 + 12  # SKF_AD_OFF + SKF_AD_NLATTR: A is where to begin, X the type; 0 if absent
_WHOLE: Final = 0xFFFFFFFF


class Decliner:
    """Declines from when it is made until `close`. Raises OSError without CAP_NET_ADMIN."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_XFRM)
        try:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_BROADCAST_ERROR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            self._socket.bind((0, 0))
            self._fill()
            _filter(self._socket, _wanted())
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


def _wanted() -> list[tuple[int, int, int, int]]:
    """A filter for acquires that name a CPU, under a policy whose reqid is ours."""
    base, mask = _as_loaded(REQID_BASE), _as_loaded(REQID_MASK)
    return [
        (_LOAD_NUMBER, 0, 0, _HEADERS),
        (_INDEX_NUMBER, 0, 0, XFRMA_SA_PCPU),
        (_LOAD_WORD, 0, 0, _FIND_ATTRIBUTE),
        (_IF_EQUAL, 8, 0, 0),
        (_LOAD_NUMBER, 0, 0, _HEADERS),
        (_INDEX_NUMBER, 0, 0, XFRMA_TMPL),
        (_LOAD_WORD, 0, 0, _FIND_ATTRIBUTE),
        (_INDEX_A, 0, 0, 0),
        (_LOAD_AT_INDEX, 0, 0, _REQID),
        (_AND, 0, 0, mask),
        (_IF_EQUAL, 0, 1, base),
        (_RETURN, 0, 0, _WHOLE),
        (_RETURN, 0, 0, 0),
    ]


def _as_loaded(word: int) -> int:
    """BPF loads big-endian words; netlink's are the machine's."""
    return int.from_bytes(struct.pack("=I", word), "big")


def _filter(sock: socket.socket, program: list[tuple[int, int, int, int]]) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    # struct sock_fprog: a count, padding, a pointer
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
