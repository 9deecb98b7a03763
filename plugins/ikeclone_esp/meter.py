"""What one direction of a Child SA has carried, beside what it may."""

from __future__ import annotations

from collections.abc import Callable

from ikeclone.backend import ChildSa, Event, Expire

Report = Callable[[Event], None]


class Meter:
    """Tells once when the soft limit is reached and once when the hard one is.

    From then on the SA is `used_up`, and carries no packet until the daemon removes it, as in the kernel.
    """

    def __init__(self, sa: ChildSa, report: Report) -> None:
        self._spi, self._report = sa.inbound_spi, report
        self._ahead = [(hard, limit) for hard, limit in ((False, sa.limits.soft), (True, sa.limits.hard)) if limit]
        self._packets = self._octets = 0
        self.used_up = False

    def add(self, packets: int, octets: int) -> None:
        """Count packets and the octets of what is in them."""
        self._packets += packets
        self._octets += octets
        while self._ahead and self._ahead[0][1].is_reached(self._octets, self._packets):
            hard, _ = self._ahead.pop(0)
            self._tell(hard=hard)

    def end(self) -> None:
        """The next packets are more than the SA can carry."""
        self._ahead.clear()
        if not self.used_up:
            self._tell(hard=True)

    def _tell(self, *, hard: bool) -> None:
        self.used_up = hard
        self._report(Expire(self._spi, hard))
