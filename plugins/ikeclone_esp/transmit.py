"""The outbound half of a worker: TUN frames to ESP packets on the right SA."""

from __future__ import annotations

from typing import Final

from ikeclone_esp.counters import Row
from ikeclone_esp.frames import Frames
from ikeclone_esp.handover import MOST_HOPS, PLAINTEXT, Handover, Tag
from ikeclone_esp.routing import Routing, Verdict
from ikeclone_esp.seal import Sealer
from ikeclone_esp.tun import GSO_NONE

_BURST: Final = 32  # single packets read at a time; received ones must not wait longer


class Transmitter:
    def __init__(self, worker: int, tun: int, routing: Routing, handover: Handover, row: Row) -> None:
        self._own = Tag(PLAINTEXT, worker, 0)
        self._tun, self._routing, self._handover, self._row = tun, routing, handover, row
        self._frames = Frames()
        self._sealer = Sealer(self._frames)

    def on_readable(self) -> None:
        """Send what the TUN queue holds: one super packet, or a burst of single ones."""
        frames = self._frames
        try:
            for _ in range(_BURST):
                verdict = self._next()
                if verdict is None:
                    continue
                self._send(verdict, self._own)
                if frames.gso_type != GSO_NONE or self._handover.blocked:
                    break
        except BlockingIOError:
            pass  # the queue is empty
        self._sealer.flush()

    def _next(self) -> Verdict | None:
        """Read a frame and decide about it; None for what is no IP packet."""
        try:
            self._frames.read(self._tun)
            return self._routing.verdict(self._frames.packet())
        except ValueError:
            self._row.dropped("malformed")
            return None

    def on_passed(self, frame: bytes, tag: Tag) -> None:
        """Send a frame that another worker has no SA for."""
        self._frames.load(frame)
        self._send(self._routing.fallback_verdict(self._frames.packet()), tag)
        self._sealer.flush()

    def forget(self, connection: str) -> None:
        """Leave a connection's traffic and drop what was held of it."""
        if lost := self._routing.unroute(connection):
            self._row.dropped("held", lost)

    def release(self, connection: str) -> None:
        """Send what was held for want of an SA."""
        for frame in self._routing.release(connection):
            self._frames.load(frame)
            self._send(self._routing.verdict(self._frames.packet()), self._own)
        self._sealer.flush()

    def reconsider(self) -> None:
        """Look again at what is held: part of a connection's traffic may have a policy of its own now."""
        for connection in self._routing.waiting:
            self.release(connection)

    def _send(self, verdict: Verdict, tag: Tag) -> None:
        if verdict.sa is not None:
            self._sealer.send(verdict.sa, tag.origin)
        elif verdict.connection is None:
            self._row.dropped("no-policy")
        elif verdict.worker is not None and tag.hops < MOST_HOPS:
            self._handover.pass_on(verdict.worker, tag._replace(hops=tag.hops + 1), self._frames.octets())
        elif lost := self._routing.hold(verdict.connection, self._frames.octets()):
            self._row.dropped("held", lost)
