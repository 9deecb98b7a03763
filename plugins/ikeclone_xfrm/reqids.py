"""The numbers that lead from a connection's policies to its states."""

from __future__ import annotations

from itertools import chain
from typing import Final

from ikeclone.backend import BackendError
from ikeclone_xfrm.policies import REQID_BASE, REQID_MASK

_MOST: Final = REQID_MASK ^ 0xFFFFFFFF


class Reqids:
    """One for each connection; one that was given back is the last to be given again."""

    def __init__(self) -> None:
        self._given: dict[str, int] = {}
        self._last = 0

    def of(self, connection: str) -> int:
        """A connection's reqid; raises BackendError when there are too many connections."""
        if connection not in self._given:
            self._given[connection] = REQID_BASE + self._free()
        return self._given[connection]

    def give_back(self, connection: str) -> None:
        """The connection has neither policies nor states any more."""
        self._given.pop(connection, None)

    def clear(self) -> None:
        self._given.clear()

    def _free(self) -> int:
        taken = {number - REQID_BASE for number in self._given.values()}
        for number in chain(range(self._last + 1, _MOST + 1), range(1, self._last + 1)):
            if number not in taken:
                self._last = number
                return number
        raise BackendError(f"{_MOST} connections are as many as there can be")
