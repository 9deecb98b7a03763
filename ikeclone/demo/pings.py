"""Echo requests with the system's ping, and an exact account of those that were not answered."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from types import TracebackType

from ikeclone.demo.namespaces import Namespace, end

REPLY = re.compile(r"icmp_seq=(\d+) ttl=\d+ time=([\d.]+) ms")


def ping(
    namespace: Namespace,
    source: str,
    target: str,
    count: int = 1,
    cpus: Iterable[int] = (),
    patience: int = 10,
) -> list[float]:
    """Send `count` echo requests of 84 octets at once, on these CPUs if any are named.

    Returns the round-trip time of each reply in milliseconds, after all have come or `patience` seconds.
    """
    # After the first reply ping waits for the others only as long as the interval, whatever -W says.
    times = ("-i", str(patience), "-W", str(patience))
    command = ["ping", "-n", "-c", str(count), "-l", str(count), *times, "-I", source, target]
    output = namespace.run(*command, cpus=cpus, check=False, timeout=patience + 30)
    return [float(took) for _, took in REPLY.findall(output)]


class RunningPing:
    """A ping that goes on in the background, on these CPUs if any are named, while something else happens.

    A context manager. Afterwards `replies` and `lost` say what became of the requests up to the last one that was
    answered.
    """

    def __init__(
        self, namespace: Namespace, source: str, target: str, interval: float = 0.01, cpus: Iterable[int] = ()
    ) -> None:
        self._namespace, self._cpus = namespace, tuple(cpus)
        self._command = ["ping", "-n", "-i", str(interval), "-I", source, target]
        self.replies = 0
        self.lost: list[int] = []

    def __enter__(self) -> RunningPing:
        # A file, not a pipe: a full pipe would stop the ping.
        self._output = tempfile.TemporaryFile("w+")
        self._process = self._namespace.start(*self._command, cpus=self._cpus, stdout=self._output)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lost = self._await_late_ones()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            end(self._process)
        self.replies = self.answered
        self._output.close()

    def _await_late_ones(self, patience: float = 2.0) -> list[int]:
        """What is lost up to the last request that is answered now, for one CPU may overtake another."""
        sent = set(range(1, max(self._seen(), default=0) + 1))
        deadline = time.monotonic() + patience
        while (lost := sent - self._seen()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return sorted(lost)

    def await_replies(self, more: int = 10, patience: float = 10.0) -> None:
        """Wait until `more` further requests are answered; raises TimeoutError when they are not in time."""
        wanted = len(self._seen()) + more
        deadline = time.monotonic() + patience
        while len(self._seen()) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"ping: fewer than {more} replies in {patience:.0f} s")
            time.sleep(0.02)

    @property
    def answered(self) -> int:
        """How many requests have been answered so far."""
        return len(self._seen())

    def _seen(self) -> set[int]:
        """The sequence numbers of the replies so far."""
        # The file's position is shared with ping, which writes there: read without moving it.
        file = self._output.fileno()
        output = os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")
        return {int(number) for number, _ in REPLY.findall(output)}
