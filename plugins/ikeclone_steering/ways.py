"""What the ways to steer have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, Protocol, TypeVar

from ikeclone.steering import Arrival, SteeringError
from ikeclone_steering.links import Link

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Way(Protocol):
    """One way to bring packets to the CPU of their clone. Methods raise SteeringError, with the reason."""

    title: str
    # It knows packets in UDP by their SPI. Others know them by their ports, which clones may share.
    looks_into_udp: bool

    async def put(self, link: Link, arrival: Arrival) -> str:
        """Bring such packets, which come by this device, to their CPU; returns how, for `status`."""
        ...

    async def remove(self, spi: int) -> None:
        """Undo `put` of an SPI, as far as it was for that SPI alone. An unknown one is no error."""
        ...

    async def prospect(self, link: Link) -> str:
        """How it would steer here, for `doctor`. No traffic is disturbed to find out."""
        ...


def instead_of(refusals: Mapping[str, str]) -> str:
    """Why not the ways of these titles, to be put behind the one that it is."""
    reasons = "; ".join(f"{title}: {reason}" for title, reason in refusals.items())
    return f" (not {reasons})" if reasons else ""


class Remembered(Generic[K, V]):
    """What was found out or done once for a device; a refusal is not asked for again."""

    def __init__(self) -> None:
        self._known: dict[K, V | SteeringError] = {}

    async def get(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        """What `make` returned for this key; raises the SteeringError that it raised."""
        if key not in self._known:
            try:
                self._known[key] = await make()
            except SteeringError as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, SteeringError):
            raise known
        return known

    def values(self) -> list[V]:
        """What there is, without the refusals."""
        return [known for known in self._known.values() if not isinstance(known, SteeringError)]

    def forget(self, key: K) -> None:
        """Find out anew; an unknown key is no error."""
        self._known.pop(key, None)
