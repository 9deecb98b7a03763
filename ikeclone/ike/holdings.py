"""All Child SAs of an endpoint, found by the SPI that they send on and by the peer's traffic that they carry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ikeclone.ike.child import Child
from ikeclone.selectors import TrafficSelector

# Address ranges of like size: their IP version, and the bits that number the addresses of one.
_Class = tuple[int, int]


class Holdings:
    """Looking one up takes no longer when there are many peers."""

    def __init__(self) -> None:
        self._senders: defaultdict[int, set[Child]] = defaultdict(set)
        # By class, then by the block of 2**bits addresses that the range begins in; it ends in that or the next one.
        self._blocks: defaultdict[_Class, defaultdict[int, set[Child]]] = defaultdict(lambda: defaultdict(set))

    def add(self, child: Child) -> None:
        """Note a new Child SA."""
        self._senders[child.outbound_spi].add(child)
        for selector in child.agreement.remote:
            size, block = _place(selector)
            self._blocks[size][block].add(child)

    def remove(self, child: Child) -> None:
        """Forget one that is gone."""
        _discard(self._senders, child.outbound_spi, child)
        for selector in child.agreement.remote:
            size, block = _place(selector)
            _discard(self._blocks[size], block, child)
            if not self._blocks[size]:
                del self._blocks[size]

    def sending_on(self, spi: int) -> Iterator[Child]:
        """Those whose peers receive on this SPI."""
        return iter(self._senders.get(spi, ()))

    def with_traffic(self, wanted: TrafficSelector) -> Iterator[Child]:
        """Those that carry some of this traffic, from the peer's side."""
        for (version, bits), blocks in self._blocks.items():
            if version == wanted.first.version:
                for child in _near(blocks, (int(wanted.first) >> bits) - 1, int(wanted.last) >> bits):
                    if any(wanted.intersection(theirs) for theirs in child.agreement.remote):
                        yield child


def _place(selector: TrafficSelector) -> tuple[_Class, int]:
    first, last = int(selector.first), int(selector.last)
    bits = (last - first).bit_length()
    return (selector.first.version, bits), first >> bits


def _near(blocks: dict[int, set[Child]], first: int, last: int) -> Iterator[Child]:
    """What begins in the blocks `first` to `last`: look there, or where something is, whichever is less."""
    numbers = range(first, last + 1) if last - first < len(blocks) else [n for n in blocks if first <= n <= last]
    for number in numbers:
        yield from blocks.get(number, ())


def _discard(index: dict[int, set[Child]], key: int, child: Child) -> None:
    index[key].discard(child)
    if not index[key]:
        del index[key]
