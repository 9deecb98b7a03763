"""Steering by the network card: its hash (RSS) counts the SPI in, or the ports of ESP in UDP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ikeclone.steering import Arrival, SteeringError
from ikeclone_steering.ethtool import Card, Fields, Flow
from ikeclone_steering.journal import Change, Journal
from ikeclone_steering.links import Link
from ikeclone_steering.ways import Remembered

_SPI_OR_PORTS: Final = Fields.FIRST_TWO | Fields.NEXT_TWO
_ALL: Final = _SPI_OR_PORTS | Fields.SOURCE | Fields.DESTINATION
# Older drivers know ESP and AH under one name only.
_FLOWS: Final = {
    (4, False): (Flow.ESP_V4, Flow.AH_ESP_V4),
    (6, False): (Flow.ESP_V6, Flow.AH_ESP_V6),
    (4, True): (Flow.UDP_V4,),
    (6, True): (Flow.UDP_V6,),
}


@dataclass(frozen=True, slots=True)
class HashChanged(Change):
    """What the hash of a flow was made of before, and what it is made of now."""

    flow: int
    before: int
    after: int

    def do(self) -> None:
        card = Card(self.device)
        card.hash_by(Flow(self.flow), Fields(self.after))
        if card.hashed(Flow(self.flow)) != self.after:
            card.hash_by(Flow(self.flow), Fields(self.before))
            raise OSError(0, "the driver takes the setting and makes another of it")

    def undo(self) -> None:
        card = Card(self.device)
        if card.hashed(Flow(self.flow)) == self.after:
            card.hash_by(Flow(self.flow), Fields(self.before))


class CardHash:
    """What `ethtool -N DEVICE rx-flow-hash esp4 sdfn` does, for esp6, udp4 and udp6 as well.

    The packets of an SPI come to one CPU always, but it is the hash that chooses which.
    """

    title = "RSS"
    looks_into_udp = False

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._done: Remembered[tuple[int, int, bool], str] = Remembered()

    async def put(self, link: Link, arrival: Arrival) -> str:
        kind = arrival.path.remote.version, arrival.encapsulated
        return await self._done.get((link.index, *kind), lambda: self._hash(link, kind))

    async def remove(self, spi: int) -> None: ...

    async def prospect(self, link: Link) -> str:
        queues, hashed = _queues(link), _hashed(link.name, _FLOWS[4, False][0])
        state = "on already" if hashed & _SPI_OR_PORTS == _SPI_OR_PORTS else "if the driver lets the hash have it"
        return f"RSS by SPI over {queues} queues, {state}"

    async def _hash(self, link: Link, kind: tuple[int, bool]) -> str:
        _queues(link)
        refusals = []
        for flow in _FLOWS[kind]:
            try:
                self._count_in(link.name, flow)
            except SteeringError as error:
                refusals.append(str(error))
            else:
                what = "UDP ports" if kind[1] else "SPI"
                return f"RSS on {link.name}, by {what} to a queue and so always to the same CPU"
        raise SteeringError(f"no hash with it ({'; '.join(dict.fromkeys(refusals))})")

    def _count_in(self, device: str, flow: Flow) -> None:
        before = _hashed(device, flow)
        if before & _SPI_OR_PORTS != _SPI_OR_PORTS:
            self._journal.make(HashChanged(device, flow, before, before | _ALL))


def _hashed(device: str, flow: Flow) -> Fields:
    """What the hash of such packets is made of; raises SteeringError when the driver has no answer."""
    try:
        return Card(device).hashed(flow)
    except OSError as error:
        raise SteeringError(error.strerror or str(error)) from error


def _queues(link: Link) -> int:
    """How many receive queues a device has; raises SteeringError when there is nothing to spread over."""
    try:
        queues = Card(link.name).queues()
    except OSError as error:
        raise SteeringError(f"it has none ({error.strerror})") from error
    if queues < 2:
        raise SteeringError("it has one receive queue")
    return queues
