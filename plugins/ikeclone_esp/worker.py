"""The worker process of one CPU: `python -m ikeclone_esp.worker DESCRIPTOR`, started by the backend.

It waits for packets and for the daemon's messages, does one thing at a time and blocks nowhere else. It keeps the
keys of the SAs it owns and no others.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

from ikeclone.backend import BackendError, ChildSa, Event, Path
from ikeclone_esp import counters, messages, sandbox
from ikeclone_esp.associations import InboundSa, OutboundSa
from ikeclone_esp.handover import CIPHERTEXT, LARGEST, Handover, Tag
from ikeclone_esp.messages import (
    Activate,
    Deactivate,
    Done,
    DropSocket,
    Fallback,
    Install,
    Move,
    Neighbour,
    Ready,
    Remove,
    Request,
    Reserve,
    Route,
    Setup,
    Skip,
    Unroute,
    UseSocket,
)
from ikeclone_esp.paths import EspPath, RawPath, UdpPath
from ikeclone_esp.receive import Receiver
from ikeclone_esp.routing import Routing
from ikeclone_esp.transmit import Transmitter

_MOST_DESCRIPTORS = 8


class Worker:
    def __init__(self, channel: socket.socket, setup: Setup, tun: int, table: int, passed: socket.socket) -> None:
        self._channel = channel
        self._poll = select.epoll()
        self._counters = counters.Table(table, setup.workers)
        row = self._counters.row(setup.worker)
        self._routing = Routing(setup.cpu, setup.worker, self._report)
        self._handover = Handover(self._poll)
        self._receiver = Receiver(setup.worker, setup.workers, tun, self._handover, row, self._report)
        self._transmitter = Transmitter(setup.worker, tun, self._routing, self._handover, row)
        self._sockets: dict[str, socket.socket] = {}
        self._outbound: dict[int, OutboundSa] = {}
        self._tun, self._passed = tun, passed
        self._tun_paused = False
        self._readers: dict[int, Callable[[], None]] = {}
        self._watch(tun, self._transmitter.on_readable)
        self._watch(passed.fileno(), self._on_passed)
        self._watch(channel.fileno(), self._on_message)

    def _watch(self, fd: int, reader: Callable[[], None]) -> None:
        self._readers[fd] = reader
        self._poll.register(fd, select.EPOLLIN)

    def run(self) -> None:
        """Serve until the daemon closes the channel."""
        readers, poll, handover = self._readers, self._poll.poll, self._handover
        while True:
            for fd, _ in poll():
                reader = readers.get(fd)
                try:
                    if reader is not None:
                        reader()
                    elif (worker := handover.worker_of(fd)) is not None:
                        handover.on_writable(worker)
                except BlockingIOError:
                    continue  # somebody else's packet, or one with a bad checksum, woke us
                if handover.blocked != self._tun_paused:
                    self._pause(paused=handover.blocked)

    def _pause(self, *, paused: bool) -> None:
        self._tun_paused = paused
        self._poll.modify(self._tun, 0 if paused else select.EPOLLIN)

    def _report(self, event: Event) -> None:
        self._say(event)

    def _say(self, message: object) -> None:
        self._channel.send(messages.encode(message))

    def _on_passed(self) -> None:
        tag, packet = Tag.split(self._passed.recv(LARGEST))
        if tag.kind == CIPHERTEXT:
            self._receiver.on_passed(packet)
        else:
            self._transmitter.on_passed(packet, tag)

    def _on_message(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._channel, messages.LARGEST, _MOST_DESCRIPTORS)
        if not data:
            sys.exit()
        message = messages.decode(data)
        match message:
            case Request(number, body):
                self._answer(number, body)
            case Reserve(spi):
                self._receiver.reserve(spi.to_bytes(4, "big"))
            case Neighbour(worker):
                self._handover.connect(worker, socket.socket(fileno=fds[0]))
            case UseSocket(local, raw):
                self._use_socket(local, socket.socket(fileno=fds[0]), raw=raw)

    def _use_socket(self, local: str, sock: socket.socket, *, raw: bool) -> None:
        self._drop_socket(local)
        self._sockets[local] = sock
        reader = self._receiver.on_raw if raw else self._receiver.on_datagram
        self._watch(sock.fileno(), partial(reader, sock))

    def _drop_socket(self, local: str) -> None:
        if (former := self._sockets.pop(local, None)) is not None:
            self._poll.unregister(former)
            del self._readers[former.fileno()]
            former.close()

    def _answer(self, number: int, body: object) -> None:
        try:
            self._do(body)
        except BackendError as error:
            self._say(Done(number, str(error)))
        else:
            self._say(Done(number))

    def _do(self, body: object) -> None:
        match body:
            case Install(sa, row):
                self._install(sa, row)
            case Activate(spi):
                outbound = self._find(spi)
                self._routing.activate(outbound)
                self._transmitter.release(outbound.sa.connection)
            case Deactivate(spi):
                self._routing.deactivate(self._find(spi))
            case Remove(spi):
                self._remove(spi)
            case Move(spi, path, udp_encapsulation):
                outbound = self._find(spi)
                former, outbound.path = outbound.path, self._path(path, udp=udp_encapsulation)
                former.close()
                self._receiver.move(spi.to_bytes(4, "big"), path, udp_encapsulation)
            case Skip(spi, count):
                self._find(spi).skip(count)
            case Fallback(connection, worker):
                self._routing.set_fallback(connection, worker)
                self._transmitter.release(connection)
            case Route(policy):
                self._routing.route(policy)
                self._transmitter.reconsider()
            case Unroute(connection):
                self._transmitter.forget(connection)
            case DropSocket(local):
                self._drop_socket(local)

    def _find(self, spi: int) -> OutboundSa:
        if spi not in self._outbound:
            raise BackendError(f"no SA with inbound SPI {spi:08x}")
        return self._outbound[spi]

    def _install(self, sa: ChildSa, index: int) -> None:
        row = self._counters.row(index)
        outbound = OutboundSa(sa, self._path(sa.path, udp=sa.udp_encapsulation), row, self._report)
        inbound = InboundSa(sa, row, self._report)
        self._outbound[sa.inbound_spi] = outbound
        self._receiver.install(inbound)

    def _remove(self, spi: int) -> None:
        self._receiver.remove(spi.to_bytes(4, "big"))
        outbound = self._outbound.pop(spi, None)
        if outbound is not None:
            self._routing.deactivate(outbound)
            outbound.path.close()

    def _path(self, path: Path, *, udp: bool) -> EspPath:
        if udp:
            sock = self._sockets.get(str(path.local))
            if sock is None:
                raise BackendError(f"no socket for ESP in UDP from {path.local}: the daemon does not listen there")
            return UdpPath(sock, path)
        sock = self._sockets.get(messages.raw_socket(path.local.version))
        if sock is None:
            raise BackendError("ESP without UDP needs CAP_NET_RAW: use encapsulation=yes or run as root")
        return RawPath(sock, path)


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon, which then ends its workers
    data, fds, _, _ = socket.recv_fds(channel, messages.LARGEST, _MOST_DESCRIPTORS)
    if not data:
        return
    setup = messages.decode(data)
    tun, table, passed = fds
    worker = Worker(channel, setup, tun, table, socket.socket(fileno=passed))
    os.close(table)
    note = sandbox.pin(setup.cpu)
    sandbox.drop_privileges()
    channel.send(messages.encode(Ready(note)))
    worker.run()


if __name__ == "__main__":
    main()
