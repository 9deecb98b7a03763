"""The daemon's side of one worker: the process and the channel to it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ikeclone.backend import BackendError
from ikeclone_esp import messages
from ikeclone_esp.messages import Done, Ready, Request

log = logging.getLogger(__name__)
_LARGEST_BACKLOG = 4096
_UNASKED = 0  # the number of requests whose answer nobody waits for


class WorkerProcess:
    """A running worker. It is not forked: it starts with an empty memory and gets no other worker's keys.

    `on_event` gets its events, `on_end` is called once, when the process is gone; from then on `reason` says why.
    """

    def __init__(self, index: int, cpu: int, on_event: Callable[[Any], None],
                 on_end: Callable[[WorkerProcess], None]) -> None:  # fmt: skip
        self.index, self.cpu = index, cpu
        self.started = time.monotonic()
        self._on_event, self._on_end = on_event, on_end
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[str] = self._loop.create_future()
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        self._backlog: deque[tuple[bytes, list[int]]] = deque()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = _spawn(theirs)
        self.pid = self._process.pid
        self.reason = ""
        self._channel.setblocking(False)
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._channel, self._on_readable)
        self._loop.add_reader(self._pidfd, self._on_exit)

    def post(self, message: object, *fds: int) -> None:
        """Send a message that needs no answer. Descriptors must stay open until the worker has them."""
        if self.reason:
            return
        if len(self._backlog) >= _LARGEST_BACKLOG:
            self.kill()  # it has not read for thousands of messages: a hung worker is a dead one
            return
        self._backlog.append((messages.encode(message), list(fds)))
        if len(self._backlog) == 1:
            self._drain()

    def _drain(self) -> None:
        while self._backlog:
            data, fds = self._backlog[0]
            try:
                socket.send_fds(self._channel, [data], fds)
            except BlockingIOError:
                self._loop.add_writer(self._channel, self._drain)
                return
            except OSError:
                self._backlog.clear()  # it is gone; its end will be noticed
                break
            self._backlog.popleft()
        self._loop.remove_writer(self._channel)

    def tell(self, body: object) -> None:
        """Have something done that cannot fail, without waiting for it."""
        self.post(Request(_UNASKED, body))

    async def request(self, body: object) -> None:
        """Have something done. Raises BackendError when the worker cannot, or ends first."""
        if self.reason:
            raise BackendError(self.reason)
        self._number += 1
        number, answer = self._number, self._loop.create_future()
        self._answers[number] = answer
        try:
            self.post(Request(number, body))
            await answer
        finally:
            self._answers.pop(number, None)

    async def inform(self, body: object) -> None:
        """Have something done unless the worker has ended or ends meanwhile. Raises BackendError if it refuses."""
        try:
            await self.request(body)
        except BackendError:
            if not self.reason:
                raise

    def _on_readable(self) -> None:
        try:
            data = self._channel.recv(messages.LARGEST)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._loop.remove_reader(self._channel)
            return
        match messages.decode(data):
            case Ready(note):
                if not self.ready.done():
                    self.ready.set_result(note)
            case Done(number, error):
                answer = self._answers.get(number)
                if answer is not None and not answer.done():
                    answer.set_exception(BackendError(error)) if error else answer.set_result(None)
            case event:
                self._on_event(event)

    def _on_exit(self) -> None:
        status = self._process.wait()
        self._close()
        reason = f"ended by signal {-status}" if status < 0 else f"exited with status {status}"
        self.reason = f"the ESP worker of CPU {self.cpu} (pid {self.pid}) {reason}"
        pending: list[asyncio.Future[Any]] = [self.ready, *self._answers.values()]
        for answer in pending:
            if not answer.done():
                answer.set_exception(BackendError(self.reason))
        if self.ready.done() and not self.ready.cancelled():
            self.ready.exception()  # whoever waits for it sees it too; nobody else has to
        self._on_end(self)

    def _close(self) -> None:
        for fd in (self._channel, self._pidfd):
            self._loop.remove_reader(fd)
        self._loop.remove_writer(self._channel)
        self._channel.close()
        os.close(self._pidfd)

    def kill(self) -> None:
        self._process.kill()

    async def stop(self, patience: float = 2.0) -> None:
        """End the process and wait until it is gone: closing the channel is enough, unless it hangs."""
        if self.reason:
            return
        self._on_end = lambda _: gone.set()
        gone = asyncio.Event()
        self._channel.shutdown(socket.SHUT_RDWR)
        try:
            await asyncio.wait_for(gone.wait(), patience)
        except TimeoutError:
            self.kill()
            await gone.wait()


def _spawn(channel: socket.socket) -> subprocess.Popen[bytes]:
    """Start the worker with nothing but its end of the channel."""
    fd = channel.fileno()
    command = [sys.executable, "-P", "-m", "ikeclone_esp.worker", str(fd)]
    return subprocess.Popen(command, pass_fds=[fd], stdin=subprocess.DEVNULL, env=os.environ | _ONE_THREAD)


# numpy's linear algebra would start a thread per CPU that nobody needs
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
