"""A NAT on the virtual network's link: one address outside, a port for each port inside."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from ikeclone.backend import Path
from ikeclone.selectors import IPAddress


class Nat:
    """Hides `inside` behind `outside`. `forget` gives everything new ports, as a restarted NAT does."""

    def __init__(self, inside: IPAddress, outside: IPAddress) -> None:
        self._inside, self._outside = inside, outside
        self._free = count(20000)
        self._ports: dict[int, int] = {}

    def forget(self, outside: IPAddress | None = None) -> None:
        """Lose every mapping, and take another address if one is given."""
        self._ports.clear()
        self._outside = outside or self._outside

    def translate(self, path: Path) -> Path | None:
        """The path of a datagram as its receiver sees it from the sender's side; None when nothing maps it."""
        if path.local == self._inside:
            port = self._ports.setdefault(path.local_port, next(self._free))
            return replace(path, local=self._outside, local_port=port)
        if path.remote == self._outside:
            for inner, outer in self._ports.items():
                if outer == path.remote_port:
                    return replace(path, remote=self._inside, remote_port=inner)
        return None
