"""All workers and what outlives them: TUN queues, sockets and counters stay with the daemon."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from ikeclone.backend import BackendError
from ikeclone_esp import counters, messages, sockets
from ikeclone_esp.messages import Neighbour, Setup, UseSocket
from ikeclone_esp.process import WorkerProcess
from ikeclone_esp.tun import Tun

log = logging.getLogger(__name__)
_START_TIMEOUT: Final = 20.0
_SHORT_LIFE: Final = 2.0  # seconds; a worker that ends sooner is replaced only after as long again


class Pool:
    """One worker for each CPU. `on_event` gets their events; `on_lost` the index of one that ended and why, before
    its successor starts, and `brief` the index of one that just started, to be told what it must know."""

    def __init__(self, cpus: list[int], on_event: Callable[[Any], None], on_lost: Callable[[int, str], None],
                 brief: Callable[[int], None]) -> None:  # fmt: skip
        self.cpus = cpus
        self._on_event, self._on_lost, self._brief = on_event, on_lost, brief
        self.tun = Tun(cpus)
        self._counters = counters.create(len(cpus))
        self.table = counters.Table(self._counters, len(cpus))
        self._handover = [sockets.handover() for _ in cpus]
        self._sockets: dict[str, list[socket.socket]] = {}
        self._heeding: list[socket.socket] = []
        self._workers: list[WorkerProcess] = []
        self._stopping = False
        self.raw = self._open_raw()

    def _open_raw(self) -> str:
        """Open the raw sockets; says in words what became of it."""
        opened = []
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            try:
                self._sockets[messages.raw_socket(version)] = sockets.raw(family, len(self.cpus))
                if family == socket.AF_INET6:
                    self._heeding.append(sockets.heed_packet_too_big())
            except OSError as error:
                log.info("no raw ESP over IPv%d: %s", version, error.strerror)
            else:
                opened.append(f"IPv{version}")
        return " and ".join(opened) or "no, it needs CAP_NET_RAW"

    def __len__(self) -> int:
        return len(self.cpus)

    def __getitem__(self, index: int) -> WorkerProcess:
        return self._workers[index]

    async def start(self) -> None:
        """Start all workers. Raises BackendError when one does not get ready."""
        self._workers = [self._spawn(index) for index in range(len(self.cpus))]
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                notes = await asyncio.gather(*(worker.ready for worker in self._workers))
        except TimeoutError:
            raise BackendError("the ESP workers do not start: is the machine overloaded?") from None
        for note in filter(None, notes):
            log.warning("a worker runs with less: %s", note)

    def _spawn(self, index: int) -> WorkerProcess:
        cpu = self.cpus[index]
        worker = WorkerProcess(index, cpu, self._on_event, self._on_end)
        setup = Setup(index, cpu, len(self.cpus))
        worker.post(setup, self.tun.queues[index], self._counters, self._handover[index][1].fileno())
        for other, (write, _) in enumerate(self._handover):
            if other != index:
                worker.post(Neighbour(other), write.fileno())
        for name, members in self._sockets.items():
            worker.post(_use(name), members[index].fileno())
        return worker

    def _on_end(self, worker: WorkerProcess) -> None:
        """Replace a worker that ended; its descriptors are still open here, so no packet finds a closed door."""
        loop = asyncio.get_running_loop()
        lived = loop.time() - worker.started
        self._on_lost(worker.index, worker.reason)
        delay = 0.0 if lived > _SHORT_LIFE else _SHORT_LIFE
        loop.call_later(delay, self._replace, worker.index)

    def _replace(self, index: int) -> None:
        if not self._stopping:
            self._workers[index] = self._spawn(index)
            self._brief(index)

    def add_sockets(self, local: str, members: list[socket.socket]) -> None:
        """Give each worker its socket for a local address."""
        sockets.close(self._sockets.pop(local, []))
        self._sockets[local] = members
        for worker, member in zip(self._workers, members, strict=True):
            worker.post(_use(local), member.fileno())

    def remove_sockets(self, local: str) -> None:
        """Close the sockets of a local address, which the workers have closed on their side."""
        sockets.close(self._sockets.pop(local, []))

    async def stop(self) -> None:
        """End the workers, then close everything: with the last descriptor the device vanishes."""
        self._stopping = True
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        for members in self._sockets.values():
            sockets.close(members)
        for pair in self._handover:
            sockets.close(list(pair))
        sockets.close(self._heeding)
        self.tun.close()
        self.table.close()
        os.close(self._counters)


def _use(name: str) -> UseSocket:
    return UseSocket(name, raw=name in (messages.raw_socket(4), messages.raw_socket(6)))
