"""Steering by the network card: a rule for each SPI, to the receive queue of the clone's CPU."""

from __future__ import annotations

from dataclasses import dataclass

from ikeclone.steering import Arrival, SteeringError
from ikeclone_steering.ethtool import Card, Flow, Rule
from ikeclone_steering.journal import Change, Journal
from ikeclone_steering.links import Link
from ikeclone_steering.queues import queue_of_cpus
from ikeclone_steering.ways import Remembered


@dataclass(frozen=True, slots=True)
class RuleAdded(Change):
    """A rule of the card's. `fields` are hexadecimal digits."""

    flow: int
    fields: str
    queue: int

    def do(self) -> None:
        Card(self.device).insert(self._rule())

    def undo(self) -> None:
        Card(self.device).delete(self._rule())

    def _rule(self) -> Rule:
        return Rule(Flow(self.flow), bytes.fromhex(self.fields), self.queue)


class CardRules:
    """What `ethtool -N DEVICE flow-type esp4 … action QUEUE` does."""

    title = "rules of the card"
    looks_into_udp = False

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._takes: Remembered[int, int | None] = Remembered()
        self._added: dict[int, RuleAdded] = {}

    async def put(self, link: Link, arrival: Arrival) -> str:
        await self._takes.get(link.index, lambda: _places(link))
        queue = (await queue_of_cpus(link)).get(arrival.cpu)
        if queue is None:
            raise SteeringError(f"no receive queue whose interrupt goes to CPU {arrival.cpu} alone")
        flow, fields = match(arrival)
        change = RuleAdded(link.name, flow, fields.hex(), queue)
        self._journal.make(change)
        self._added[arrival.spi] = change
        return f"rules of the card on {link.name}, by SPI to the receive queue of its clone's CPU"

    async def remove(self, spi: int) -> None:
        if change := self._added.pop(spi, None):
            self._journal.undo(change)

    async def prospect(self, link: Link) -> str:
        places = await _places(link)
        if not (served := await queue_of_cpus(link)):
            raise SteeringError("no receive queue has an interrupt that goes to one CPU alone")
        room = "" if places is None else f", at most {places}"
        return f"rules of the card, to the queues of CPUs {', '.join(map(str, sorted(served)))}{room}"


def match(arrival: Arrival) -> tuple[Flow, bytes]:
    """The packets of an SA: by SPI, or in UDP by the ports that they come from and go to."""
    path = arrival.path
    ends = path.remote.packed + path.local.packed
    if arrival.encapsulated:
        ports = path.remote_port.to_bytes(2, "big") + path.local_port.to_bytes(2, "big")
        return (Flow.UDP_V4 if path.remote.version == 4 else Flow.UDP_V6), ends + ports
    return (Flow.ESP_V4 if path.remote.version == 4 else Flow.ESP_V6), ends + arrival.spi.to_bytes(4, "big")


async def _places(link: Link) -> int | None:
    try:
        return Card(link.name).places()
    except OSError as error:
        raise SteeringError(f"it takes none ({error.strerror})") from error
