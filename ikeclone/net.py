"""UDP sockets for IKE: ports 500 and 4500 on every address that a connection uses."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import ip_address

import asyncio_dgram

from ikeclone.backend import Path
from ikeclone.errors import LocalError
from ikeclone.ike.actions import Datagram
from ikeclone.ike.nat import PORT as NAT_PORT
from ikeclone.selectors import IPAddress

IKE_PORT = 500
MARKER = bytes(4)  # before IKE on port 4500, where ESP has its SPI (RFC 3948 section 2.2)

# Linux values that the socket module of Python 3.11 does not name.
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_DONT = 10, 23, 0

log = logging.getLogger(__name__)

Receiver = Callable[[bytes, Path], None]
Stream = asyncio_dgram.aio.DatagramServer


class Net:
    """The daemon's sockets; `receive` gets every IKE message with where it came from and to."""

    def __init__(self, receive: Receiver) -> None:
        self._receive = receive
        self._streams: dict[tuple[IPAddress, int], Stream] = {}
        self._tasks: dict[tuple[IPAddress, int], asyncio.Task[None]] = {}

    @property
    def addresses(self) -> set[IPAddress]:
        """Those that it listens on."""
        return {address for address, _ in self._streams}

    async def open(self, address: IPAddress) -> list[socket.socket]:
        """Listen on an address; the sockets of ports 500 and 4500. Raises LocalError if that cannot be."""
        with ExitStack() as stack:
            socks = [stack.enter_context(_bind(address, port)) for port in (IKE_PORT, NAT_PORT)]
            stack.pop_all()
        for sock, port in zip(socks, (IKE_PORT, NAT_PORT), strict=True):
            stream = await asyncio_dgram.from_socket(sock)
            assert isinstance(stream, Stream)  # the socket is not connected
            self._streams[address, port] = stream
            self._tasks[address, port] = asyncio.create_task(self._drain(stream, address, port))
        return socks

    async def send(self, datagram: Datagram) -> None:
        """Send a datagram from the address and port that its path names; a network that refuses is logged."""
        path = datagram.path
        stream = self._streams.get((path.local, path.local_port))
        if stream is None:
            log.warning("nothing listens on %s port %d: a message is not sent", path.local, path.local_port)
            return
        marked = path.local_port == NAT_PORT and len(datagram.data) > 1
        data = MARKER + datagram.data if marked else datagram.data
        try:
            await stream.send(data, (str(path.remote), path.remote_port))
        except OSError as error:
            log.info("cannot send to %s: %s", path.remote, error.strerror or error)

    async def leave(self, address: IPAddress) -> None:
        """Listen on an address no more."""
        for port in (IKE_PORT, NAT_PORT):
            task = self._tasks.pop((address, port))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._streams.pop((address, port)).close()

    async def close(self) -> None:
        """Close every socket."""
        for address in self.addresses:
            await self.leave(address)

    async def _drain(self, stream: Stream, address: IPAddress, port: int) -> None:
        """Hand on what arrives at once, so that the queue between stays short."""
        while True:
            try:
                data, sender = await stream.recv()
            except asyncio_dgram.TransportClosed:
                return
            except OSError as error:
                # An ICMP error about something that was sent: retransmission deals with it.
                log.debug("%s port %d: %s", address, port, error.strerror or error)
                continue
            if port == NAT_PORT:
                if not data.startswith(MARKER):
                    continue
                data = data[len(MARKER) :]
            host, remote_port = _address(sender)
            self._receive(data, Path(address, host, port, remote_port))


def _address(sender: object) -> tuple[IPAddress, int]:
    """An INET or INET6 socket address, whose host may have a scope after `%`."""
    assert isinstance(sender, tuple)
    return ip_address(sender[0].partition("%")[0]), sender[1]


def _bind(address: IPAddress, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DONT)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DONT)
        if port == NAT_PORT:
            _refuse_company(sock, address, port)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((str(address), port))
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise LocalError(_why(error, address, port)) from error
    return sock


def _refuse_company(sock: socket.socket, address: IPAddress, port: int) -> None:
    """SO_REUSEPORT would let two daemons of one user share the port: bind without it first, to see that it is free."""
    with socket.socket(sock.family, socket.SOCK_DGRAM) as probe:
        probe.bind((str(address), port))


def _why(error: OSError, address: IPAddress, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"UDP port {port} of {address} is in use: is another IKE daemon running?"
        case errno.EACCES | errno.EPERM:
            return f"UDP port {port} of {address} is not for us: run as root or with CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return f"{address} is not an address of this host"
        case _:
            return f"cannot listen on UDP port {port} of {address}: {error.strerror or error}"
