"""The SAs that workers have, as the daemon's side knows them: with the rows of their counters, never their windows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ikeclone.backend import BackendError, ChildSa
from ikeclone_esp import counters


@dataclass(slots=True)
class Installed:
    """An SA, where it is counted, and whether it sends."""

    sa: ChildSa
    row: int
    active: bool = False


class Installations:
    """SAs by their inbound SPI, in the order of their activation, and those that are leaving: they only receive."""

    def __init__(self, first_row: int) -> None:
        self._current: dict[int, Installed] = {}
        self._leaving: dict[int, Installed] = {}
        self._rows = deque(range(first_row, counters.ROWS))

    def __iter__(self) -> Iterator[Installed]:
        return iter(list(self._current.values()))

    def __contains__(self, spi: int) -> bool:
        return spi in self._current or spi in self._leaving

    def add(self, sa: ChildSa) -> Installed:
        """Give an SA a row; raises BackendError when there is none."""
        if not self._rows:
            raise BackendError(f"too many SAs: there are counters for {counters.ROWS} only")
        installed = self._current[sa.inbound_spi] = Installed(sa, self._rows.popleft())
        return installed

    def find(self, spi: int) -> Installed:
        """Raises BackendError when there is none."""
        if spi not in self._current:
            raise BackendError(f"no SA with inbound SPI {spi:08x}")
        return self._current[spi]

    def get(self, spi: int) -> Installed | None:
        """The SA with an inbound SPI, if it is there and not leaving."""
        return self._current.get(spi)

    def activate(self, spi: int) -> None:
        """An SA sends, as the newest."""
        installed = self._current.pop(spi)
        installed.active = True
        self._current[spi] = installed

    def forget(self, spi: int) -> None:
        """An SA is no more; its row is free."""
        self._free(self._current.pop(spi, None))

    def leave(self, spi: int) -> bool:
        """An SA is leaving; whether it was there."""
        installed = self._current.pop(spi, None)
        if installed is not None:
            self._leaving[spi] = installed
        return installed is not None

    def left(self, spi: int) -> bool:
        """An SA that was leaving is no more; whether it was there."""
        return self._free(self._leaving.pop(spi, None))

    def lose(self, lost: Callable[[int], bool]) -> tuple[int, ...]:
        """Forget the SAs whose SPI is lost; which of them were not leaving."""
        spis = tuple(filter(lost, self._current))
        for spi in spis:
            self.forget(spi)
        for spi in list(filter(lost, self._leaving)):
            self.left(spi)
        return spis

    def fallback(self, connection: str) -> int | None:
        """The SPI of the SA that is a connection's fallback."""
        found = [each for each in self if each.active and each.sa.cpu is None and each.sa.connection == connection]
        return found[-1].sa.inbound_spi if found else None

    def is_replaced(self, spi: int) -> bool:
        """Whether an SA has been rekeyed."""
        return any(other.sa.replaces == spi for other in self)

    def clear(self) -> None:
        """Forget all of them."""
        self._current.clear()
        self._leaving.clear()

    def _free(self, installed: Installed | None) -> bool:
        if installed is not None:
            self._rows.append(installed.row)
        return installed is not None
