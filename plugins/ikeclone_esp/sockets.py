"""The sockets of the data plane, made by the daemon and kept by it, so that they outlive a worker."""

from __future__ import annotations

import errno
import socket
from typing import Final

from ikeclone.backend import BackendError
from ikeclone.bpf.classic import filter_socket, steer_group
from ikeclone_esp import bpf

UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_BUFFER: Final = 8 << 20  # some milliseconds at 10 Gbit/s
_IPPROTO_ESP: Final = 50
_IPV6_RECVERR: Final = 25


def encapsulated(first: socket.socket, workers: int) -> list[socket.socket]:
    """One socket per worker for ESP in UDP (RFC 3948), beside the daemon's own on the same address and port.

    They form a SO_REUSEPORT group whose members are counted in the order of binding; the program given to it needs
    the daemon's socket to be the first. They stay unconnected: a connected one would bypass the program. UDP_GRO
    brings runs of equal packets in one read; the daemon's socket goes without, since it wants single messages.
    """
    made: list[socket.socket] = []
    try:
        for _ in range(workers):
            sock = socket.socket(first.family, socket.SOCK_DGRAM)
            made.append(sock)
            if first.family == socket.AF_INET6:
                only = first.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
            enlarge(sock)
            sock.bind(first.getsockname())
        steer_group(first, bpf.member_of_spi(workers))
    except OSError as error:
        close(made)
        raise BackendError(_advice(first, error)) from error
    return made


def _advice(first: socket.socket, error: OSError) -> str:
    host, port = first.getsockname()[:2]
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use, or its socket was bound without SO_REUSEPORT: stop the other daemon"
    return f"cannot share port {port} of {host} with the ESP workers: {error.strerror}"


def sending(shared: socket.socket, port: int) -> socket.socket | None:
    """A socket that sends from another port of the shared one's address; None when somebody else has that port.

    SO_REUSEPORT lets an SA and its successor have the same. Nothing is received here: peers send to the shared one.
    """
    host, _, *rest = shared.getsockname()
    sock = socket.socket(shared.family, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        enlarge(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        sock.bind((host, port, *rest))
    except OSError:
        sock.close()
        return None
    return sock


def raw(family: socket.AddressFamily, workers: int) -> list[socket.socket]:
    """One raw socket per worker for ESP without UDP, each filtered for its worker's SPIs. Raises OSError."""
    made: list[socket.socket] = []
    try:
        for worker in range(workers):
            sock = socket.socket(family, socket.SOCK_RAW, _IPPROTO_ESP)
            made.append(sock)
            filter_socket(sock, bpf.only_worker(family, worker, workers))
            enlarge(sock)
    except OSError:
        close(made)
        raise
    return made


def heed_packet_too_big() -> socket.socket:
    """A raw socket that receives nothing: while it is open, the kernel learns the path MTU of ESP over IPv6 (RFC 8201).

    It passes over what routers say of it unless an unconnected raw socket wants to know of errors, as this one does,
    which has no room to keep them. Raises OSError.
    """
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, _IPPROTO_ESP)
    try:
        filter_socket(sock, bpf.nothing())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    except OSError:
        sock.close()
        raise
    return sock


def handover() -> tuple[socket.socket, socket.socket]:
    """The way into a worker from the others: the end they write to, and the end it reads.

    All of them share the one writing end: a Unix datagram socket whose peer is connected back is bounded by octets
    (its send buffer), not by the few messages that net.unix.max_dgram_qlen allows.
    """
    write, read = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    enlarge(write)
    write.setblocking(False)
    read.setblocking(False)
    return write, read


def enlarge(sock: socket.socket) -> None:
    """Large buffers; without privileges as large as the system's limits allow."""
    for force, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, plain, _BUFFER)


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
    sockets.clear()
