"""The Child SAs that a backend has in the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ikeclone.backend import BackendError
from ikeclone_xfrm.half import Key
from ikeclone_xfrm.pair import Pair


class Pairs:
    """Pairs by their inbound SPI, in the order of their activation, and by the keys of their states."""

    def __init__(self) -> None:
        self._pairs: dict[int, Pair] = {}
        self._keys: dict[Key, Pair] = {}

    def __iter__(self) -> Iterator[Pair]:
        return iter(list(self._pairs.values()))

    def __contains__(self, spi: int) -> bool:
        return spi in self._pairs

    def find(self, spi: int) -> Pair:
        """The pair with an inbound SPI; raises BackendError when there is none."""
        if spi not in self._pairs:
            raise BackendError(f"no SA with inbound SPI {spi:08x}")
        return self._pairs[spi]

    def get(self, spi: int) -> Pair | None:
        """The pair with an inbound SPI, if there is one."""
        return self._pairs.get(spi)

    def by_key(self, key: Key) -> Pair | None:
        """The pair that a state belongs to."""
        return self._keys.get(key)

    def present(self) -> set[Key]:
        """The keys of all states that should be in the kernel."""
        return {key for pair in self for key in pair.present()}

    def owners(self, keys: Iterable[Key]) -> tuple[int, ...]:
        """The inbound SPIs of the pairs that states belong to."""
        return tuple({self._keys[key].sa.inbound_spi for key in keys})

    def put(self, pair: Pair) -> None:
        """Add a pair as the newest, in place of one with its inbound SPI."""
        self.pop(pair.sa.inbound_spi)
        self._pairs[pair.sa.inbound_spi] = pair
        self._keys |= {half.key: pair for half in (pair.inbound, pair.outbound)}

    def pop(self, spi: int) -> Pair | None:
        """Forget a pair; returns it."""
        pair = self._pairs.pop(spi, None)
        if pair is not None:
            for half in (pair.inbound, pair.outbound):
                self._keys.pop(half.key, None)
        return pair

    def rivals(self, pair: Pair) -> list[Pair]:
        """The other pairs of the same connection and CPU that have a state to send with."""
        place = pair.sa.connection, pair.sa.cpu
        others = [other for other in self if other is not pair and other.outbound.present]
        return [other for other in others if (other.sa.connection, other.sa.cpu) == place]

    def newer(self, pair: Pair) -> list[Pair]:
        """Those rivals that were activated after it."""
        order = [other.sa.inbound_spi for other in self]
        own = order.index(pair.sa.inbound_spi)
        return [other for other in self.rivals(pair) if order.index(other.sa.inbound_spi) > own]

    def replaced(self, spi: int) -> bool:
        """Whether an SA has been rekeyed."""
        return any(pair.sa.replaces == spi for pair in self)

    def wants_clones(self, connection: str) -> bool:
        """Whether packets of a connection can leave on every CPU, and the CPUs without a clone want one."""
        fallbacks = (pair for pair in self if pair.sa.connection == connection and pair.sa.cpu is None)
        return any(pair.sa.clones and pair.outbound.present for pair in fallbacks)
