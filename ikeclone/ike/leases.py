"""Address pools: which address inside the tunnel which peer has, and had."""

from __future__ import annotations

from ikeclone.connection import Identity, Pool
from ikeclone.numbers import IdType
from ikeclone.selectors import IPAddress

# From so many former holders on, their addresses are leased to others before those that nobody had yet.
REMEMBERED = 4096


class Leases:
    """The addresses of one pool. `held` are those that peers have at present."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.held: dict[IPAddress, Identity | None] = {}
        # Free ones and who had them, those first that are free for longest.
        self._former: dict[IPAddress, Identity | None] = {}
        self._unused = int(pool.first)

    def take(self, peer: Identity | None, wanted: IPAddress | None = None) -> IPAddress | None:
        """An address for a peer: the one that it had, else the one that it wants, else any; None if all are held."""
        address = self._of(peer) or self._free(wanted) or self._new() or self._oldest()
        if address is not None:
            self._former.pop(address, None)
            self.held[address] = peer
        return address

    def give_back(self, address: IPAddress) -> None:
        """Its holder is gone, and gets it again when it comes back soon."""
        self._former[address] = self.held.pop(address)

    def _of(self, peer: Identity | None) -> IPAddress | None:
        if peer is None or peer.type is IdType.NULL:
            return None
        return next((address for address, former in self._former.items() if former == peer), None)

    def _free(self, wanted: IPAddress | None) -> IPAddress | None:
        return wanted if wanted is not None and wanted in self.pool and wanted not in self.held else None

    def _new(self) -> IPAddress | None:
        while self._unused <= int(self.pool.last) and len(self._former) < REMEMBERED:
            address = type(self.pool.first)(self._unused)
            self._unused += 1
            if address not in self.held and address not in self._former:
                return address
        return None

    def _oldest(self) -> IPAddress | None:
        return next(iter(self._former), None)


class Pools(dict[Pool, Leases]):
    """The leases of each pool; connections that name the same one share it."""

    def __missing__(self, pool: Pool) -> Leases:
        leases = self[pool] = Leases(pool)
        return leases
