"""Timers on a clock that the caller owns."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Callback = Callable[[float], None]


def pause(first: float, attempts: int, most: float) -> float:
    """Seconds to wait after so many attempts before the last one: each time twice as long, up to a limit."""
    doublings = min(attempts, 64)  # after years there are more than a float has exponents for
    return min(first * 2.0**doublings, most)


@dataclass(frozen=True, slots=True, order=True)
class _Entry:
    when: float
    order: int


class Timers:
    """Named timers of any number of owners. Setting one again moves it; a timer fires once."""

    def __init__(self) -> None:
        self._heap: list[tuple[_Entry, object, str]] = []
        self._live: dict[object, dict[str, tuple[_Entry, Callback]]] = {}
        self._order = 0

    def set(self, owner: object, name: str, when: float, callback: Callback) -> None:
        """Call `callback(now)` at `when`, in place of what `name` of this owner was set to before."""
        self._order += 1
        entry = _Entry(when, self._order)
        self._live.setdefault(owner, {})[name] = (entry, callback)
        heapq.heappush(self._heap, (entry, owner, name))

    def cancel(self, owner: object, name: str | None = None) -> None:
        """Forget one timer of an owner, or all of them."""
        if name is None:
            self._live.pop(owner, None)
        elif timers := self._live.get(owner):
            timers.pop(name, None)

    def when(self, owner: object, name: str) -> float | None:
        """The time that a timer is set to."""
        timer = self._live.get(owner, {}).get(name)
        return timer[0].when if timer else None

    def owners(self) -> tuple[object, ...]:
        """Who has a timer set."""
        return tuple(owner for owner, timers in self._live.items() if timers)

    def next(self) -> float | None:
        """When the earliest timer is due."""
        while self._heap:
            entry, owner, name = self._heap[0]
            if self._is_live(entry, owner, name):
                return entry.when
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> Iterator[tuple[object, Callback]]:
        """The owners and callbacks of the timers that are due, in order; also of those that a callback sets so."""
        while (when := self.next()) is not None and when <= now:
            _, owner, name = heapq.heappop(self._heap)
            _, callback = self._live[owner].pop(name)
            yield owner, callback

    def _is_live(self, entry: _Entry, owner: object, name: str) -> bool:
        timer = self._live.get(owner, {}).get(name)
        return timer is not None and timer[0] == entry
