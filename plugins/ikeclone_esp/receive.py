"""The inbound half of a worker: ESP packets from the network to the TUN."""

from __future__ import annotations

import socket
import sys
import time
from collections import deque
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from ikeclone.backend import Path, Remapped
from ikeclone_esp.associations import InboundSa
from ikeclone_esp.counters import Row
from ikeclone_esp.handover import CIPHERTEXT, Handover, Tag
from ikeclone_esp.meter import Report
from ikeclone_esp.unseal import Unsealer

_BUFFER: Final = 65536
_CONTROL: Final = socket.CMSG_SPACE(4)
_NON_ESP: Final = bytes(4)
_MOST_WAITING: Final = 64  # packets for SAs that are not installed yet, together
_PATIENCE: Final = 2.0  # seconds that they wait

Address = tuple[str, int]


class Receiver:
    def __init__(self, worker: int, workers: int, tun: int, handover: Handover, row: Row, report: Report) -> None:
        self._worker, self._workers = worker, workers
        self._handover, self._row, self._report = handover, row, report
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._unsealer = Unsealer(self._buffer, tun)
        self._sas: dict[bytes, InboundSa] = {}
        self._reserved: set[bytes] = set()
        self._waiting: deque[tuple[float, bytes, Address | None]] = deque()
        self._reported: dict[bytes, Address] = {}

    def reserve(self, spi: bytes) -> None:
        """Keep packets for this SPI until its SA is there."""
        self._reserved.add(spi)

    def install(self, sa: InboundSa) -> None:
        """Receive on an SA, first of all what came for it before."""
        self._reserved.discard(sa.spi)
        self._sas[sa.spi] = sa
        sa.remote = _address(sa)
        waiting, self._waiting = self._waiting, deque()
        for deadline, packet, address in waiting:
            if packet[:4] != sa.spi:
                self._waiting.append((deadline, packet, address))
            elif time.monotonic() <= deadline:
                self._packet(memoryview(packet), address)
            else:
                self._row.dropped("held")

    def remove(self, spi: bytes) -> None:
        """Forget an SA or the reservation of its SPI."""
        self._reserved.discard(spi)
        self._sas.pop(spi, None)
        self._reported.pop(spi, None)

    def move(self, spi: bytes, path: Path, udp_encapsulation: bool) -> None:
        """Expect an SA's packets from a new address."""
        sa = self._sas[spi]
        sa.sa = replace(sa.sa, path=path, udp_encapsulation=udp_encapsulation)
        sa.remote = _address(sa)
        self._reported.pop(spi, None)

    def on_datagram(self, sock: socket.socket) -> None:
        """Read from a UDP socket: one ESP packet, or a run of equal ones that the kernel merged."""
        octets, control, _, address = sock.recvmsg_into([self._buffer], _CONTROL, socket.MSG_DONTWAIT)
        size = int.from_bytes(control[0][2][:4], sys.byteorder) if control else max(octets, 1)
        sa = self._sas.get(bytes(self._view[:4]))
        if size < octets and sa is not None and self._unsealer.open_run(sa, octets, size):
            if address[:2] != sa.remote:
                self._moved(sa, address[:2])
            return
        for start in range(0, octets, size):
            self._packet(self._view[start : min(start + size, octets)], address[:2])

    def on_raw(self, sock: socket.socket) -> None:
        """Read one ESP packet from a raw socket; an IPv4 one still has its IP header."""
        octets, address = sock.recvfrom_into(self._buffer, 0, socket.MSG_DONTWAIT)
        start = (self._buffer[0] & 15) * 4 if sock.family == socket.AF_INET else 0
        self._packet(self._view[start:octets], (address[0], 0))

    def on_passed(self, packet: bytes) -> None:
        """Take an ESP packet from another worker, which could not tell us where it came from."""
        self._packet(memoryview(packet), None)

    def _packet(self, packet: memoryview, address: Address | None) -> None:
        spi = bytes(packet[:4])
        sa = self._sas.get(spi)
        if sa is None:
            self._unknown(spi, packet, address)
        elif self._unsealer.open(sa, packet) and address is not None and address != sa.remote:
            self._moved(sa, address)

    def _unknown(self, spi: bytes, packet: memoryview, address: Address | None) -> None:
        """ESP for no SA of this worker: early, for another one, or stray."""
        if len(packet) < 8 or spi == _NON_ESP:
            self._row.dropped("malformed")
            return
        worker = int.from_bytes(spi, "big") % self._workers
        if worker != self._worker and address is not None:
            self._handover.pass_on(worker, Tag(CIPHERTEXT, self._worker, 1), bytes(packet))
        elif spi in self._reserved:
            self._waiting.append((time.monotonic() + _PATIENCE, bytes(packet), address))
            if len(self._waiting) > _MOST_WAITING:
                self._waiting.popleft()
                self._row.dropped("held")
        else:
            self._row.dropped("no-sa")

    def _moved(self, sa: InboundSa, address: Address) -> None:
        """An authentic packet came from elsewhere: tell the daemon, once, which decides what to do."""
        path, host = sa.sa.path, ip_address(address[0])
        if (str(host), address[1]) == sa.remote or self._reported.get(sa.spi) == address:
            return
        self._reported[sa.spi] = address
        port = address[1] or path.remote_port
        self._report(Remapped(sa.sa.inbound_spi, Path(path.local, host, path.local_port, port)))


def _address(sa: InboundSa) -> Address:
    """Where an SA's packets come from, as the socket gives it: raw ones have no port."""
    path = sa.sa.path
    return str(path.remote), path.remote_port if sa.sa.udp_encapsulation else 0
