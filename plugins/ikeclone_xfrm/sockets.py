"""What the daemon's own sockets need from the kernel's IPsec."""

from __future__ import annotations

import socket
from typing import Final

from ikeclone.backend import BackendError
from ikeclone_xfrm.numbers import (
    INFINITE,
    IP_XFRM_POLICY,
    IPV6_XFRM_POLICY,
    UDP_ENCAP,
    UDP_ENCAP_ESPINUDP,
    PolicyDirection,
)
from ikeclone_xfrm.structs import PolicyInfo

ENCAPSULATION_PORT: Final = 4500
_OPTIONS: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, IP_XFRM_POLICY),
    socket.AF_INET6: (socket.IPPROTO_IPV6, IPV6_XFRM_POLICY),
}


def exempt(sock: socket.socket) -> None:
    """Keep IKE out of every tunnel, its own included: policies of this socket that let its packets pass as they are.

    They come before all others and go with the socket. Raises BackendError.
    """
    limits = dict.fromkeys(("soft_byte_limit", "hard_byte_limit", "soft_packet_limit", "hard_packet_limit"), INFINITE)
    try:
        for direction in (PolicyDirection.IN, PolicyDirection.OUT):
            policy = PolicyInfo.pack({"sel": {"family": sock.family}, "lft": limits, "dir": direction})
            sock.setsockopt(*_OPTIONS[sock.family], policy)
    except OSError as error:
        raise BackendError(f"no IPsec policy for the IKE socket: {error.strerror}") from error


def encapsulate(sock: socket.socket) -> None:
    """Have the kernel take the ESP that arrives on this UDP socket (RFC 3948); raises BackendError."""
    try:
        sock.setsockopt(socket.SOL_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
    except OSError as error:
        raise BackendError(f"the kernel does not take ESP in UDP: {error.strerror}") from error
