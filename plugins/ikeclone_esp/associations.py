"""The two halves of a Child SA in the worker that owns it."""

from __future__ import annotations

from typing import Final

import numpy as np

from ikeclone.backend import ChildSa
from ikeclone_esp import flows
from ikeclone_esp.ciphers import Aead, EspCipher, make_cipher
from ikeclone_esp.counters import Row
from ikeclone_esp.flows import Flow, Selectors
from ikeclone_esp.meter import Meter, Report
from ikeclone_esp.paths import EspPath
from ikeclone_esp.replay import ReplayWindow

_MOST_FLOWS: Final = 4096


class OutboundSa:
    """Sends on a Child SA. `number` is the last sequence number used; they never repeat (RFC 4303 section 3.3.3)."""

    def __init__(self, sa: ChildSa, path: EspPath, row: Row, report: Report) -> None:
        self.sa, self.path, self.row = sa, path, row
        self.spi = sa.outbound_spi.to_bytes(4, "big")
        self.esn = sa.suite.esn
        self.cipher: EspCipher = make_cipher(sa.suite, sa.outbound_keys)
        self.selectors = Selectors(sa.local, sa.remote)
        self.number = 0
        self._last = (1 << 64 if self.esn else 1 << 32) - 1
        self._meter = Meter(sa, report)

    def claim(self, count: int, octets: int) -> int:
        """The first of `count` sequence numbers for packets to send with so many octets; 0 when the SA is used up."""
        first, end = self.number + 1, self.number + count
        if end > self._last:
            self._meter.end()
        if self._meter.used_up:
            return 0
        self.number = end
        self._meter.add(count, octets)
        return first

    def skip(self, count: int) -> None:
        """Leave out so many sequence numbers; without any left the SA is used up."""
        self.number = min(self.number + count, self._last)


class InboundSa:
    """Receives on a Child SA."""

    def __init__(self, sa: ChildSa, row: Row, report: Report) -> None:
        self.sa, self.row = sa, row
        self.spi = sa.inbound_spi.to_bytes(4, "big")
        self.esn = sa.suite.esn
        self.cipher: EspCipher = make_cipher(sa.suite, sa.inbound_keys)
        self.salt = np.frombuffer(self.cipher.salt, np.uint8) if isinstance(self.cipher, Aead) else None
        self.window = ReplayWindow(max(sa.replay_window, 64), self.esn)
        self.remote: tuple[str, int] | None = None  # where authentic packets are known to come from
        self._selectors = Selectors(sa.local, sa.remote)
        self.meter = Meter(sa, report)
        self._known: dict[bytes | Flow, bool] = {}

    def received(self, packets: int, octets: int) -> None:
        """Count packets that are authentic, new and about to be delivered."""
        self.row.received(packets, octets)
        self.meter.add(packets, octets)

    def admits(self, packet: memoryview) -> bool:
        """Whether the SA is for this inner packet (RFC 4301 section 5.2). Raises ValueError for what is no packet."""
        key = flows.key(packet)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_FLOWS:
                self._known.clear()
            known = self._known[key] = self._selectors.inbound(flows.parse(packet))
        return known
