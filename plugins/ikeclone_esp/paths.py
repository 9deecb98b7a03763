"""How a worker sends ESP packets to the peer: in UDP datagrams, or as IP packets of protocol 50."""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv4Address
from typing import Final, Protocol

from ikeclone.backend import IPAddress, Path
from ikeclone_esp.sockets import UDP_SEGMENT, sending

LARGEST: Final = 65507  # octets of UDP payload in one send, the smaller of IPv4's and IPv6's
_IP_PKTINFO: Final = 8
_TOO_LARGE: Final = (errno.EMSGSIZE, errno.EINVAL)


class EspPath(Protocol):
    """Sends `packets`, a run of ESP packets of `size` octets; the last may be shorter. Raises OSError."""

    remote: tuple[str, int]

    def send(self, packets: memoryview, size: int) -> None: ...

    def close(self) -> None:
        """Give back what belongs to this path alone."""


class UdpPath:
    """ESP in UDP (RFC 3948): a run leaves in one system call, cut up by the kernel or the network card.

    It leaves by the socket `shared` of all SAs, or from a port of its own if the path names another one that is free.
    """

    def __init__(self, shared: socket.socket, path: Path) -> None:
        self.remote = (str(path.remote), path.remote_port)
        self._own = None if shared.getsockname()[1] == path.local_port else sending(shared, path.local_port)
        self._sock, self._control = self._own or shared, dict[int, list[tuple[int, int, bytes]]]()

    def send(self, packets: memoryview, size: int) -> None:
        if len(packets) <= size:
            self._sock.sendto(packets, self.remote)
            return
        control = self._control.get(size)
        if control is None:
            control = self._control[size] = [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]
        try:
            self._sock.sendmsg((packets,), control, 0, self.remote)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            # The kernel cuts nothing up when segments don't fit the path MTU; single packets it fragments.
            for start in range(0, len(packets), size):
                self._sock.sendto(packets[start : start + size], self.remote)

    def close(self) -> None:
        if self._own is not None:
            self._own.close()


class RawPath:
    """ESP as IP protocol 50; the source address goes along, since a raw socket has none."""

    def __init__(self, sock: socket.socket, path: Path) -> None:
        self.remote = (str(path.remote), 0)
        self._sock = sock
        self._control = [_source(path.local)]

    def send(self, packets: memoryview, size: int) -> None:
        for start in range(0, len(packets), size):
            self._sock.sendmsg((packets[start : start + size],), self._control, 0, self.remote)

    def close(self) -> None:
        """Nothing here belongs to one path alone."""


def _source(address: IPAddress) -> tuple[int, int, bytes]:
    if isinstance(address, IPv4Address):
        return socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4x", 0, address.packed)
    return socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16si", address.packed, 0)
