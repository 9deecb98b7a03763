"""How much an SA may carry (RFC 4301 section 4.4.2.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# Without extended ones (RFC 4303 section 3.3.3): none is used twice, and 0 is never sent.
SEQUENCE_NUMBERS: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Volume:
    """A number of packets and of octets in them, as Counters counts them; None is any number."""

    octets: int | None = None
    packets: int | None = None

    def __bool__(self) -> bool:
        return self.octets is not None or self.packets is not None

    def is_reached(self, octets: int, packets: int) -> bool:
        """Whether an SA that has carried this much has carried all of it."""
        return (self.octets is not None and octets >= self.octets) or (
            self.packets is not None and packets >= self.packets
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Volumes for each direction of an SA: from `soft` on it is to be rekeyed, with `hard` it ends."""

    soft: Volume = field(default_factory=Volume)
    hard: Volume = field(default_factory=Volume)
