"""For `doctor`: how each device could bring packets to the CPU of their SA, and what would make it better."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from ikeclone.steering import Prospect, SteeringError
from ikeclone_steering.ethtool import Card
from ikeclone_steering.links import Link
from ikeclone_steering.queues import cpus_of_queues
from ikeclone_steering.ways import Way, instead_of

_AFFINITY: Final = "/proc/irq/*/smp_affinity_list"


async def survey(links: Iterable[Link], ways: Iterable[Way]) -> list[Prospect]:
    """Every device but the loopback one. Nothing is changed."""
    return [await _prospect(link, ways) for link in links if not link.loopback]


async def _prospect(link: Link, ways: Iterable[Way]) -> Prospect:
    """The first way that a device has, and why not those before it."""
    found, refusals = "", {}
    for way in ways:
        try:
            found = await way.prospect(link)
            break
        except SteeringError as error:
            refusals[way.title] = str(error)
    how = (found or "none") + instead_of(refusals)
    text = f"{how}; receive queues: {link.queues}, MTU {link.mtu}"
    advice = [*_queues(link), *_interrupts(await cpus_of_queues(link))]
    return Prospect(link.name, text, works=bool(found), advice="; ".join(advice))


def _queues(link: Link) -> Iterator[str]:
    """What ethtool could turn on."""
    card = Card(link.name)
    try:
        now, most = card.channels()
        if 0 < now < most:
            yield f"ethtool -L {link.name} combined {most} for more queues than its {now}"
        if now > 1 and not card.takes_rules():
            yield f"ethtool -K {link.name} ntuple on, if it can, for rules by SPI"
    except OSError:
        return  # it has one queue, and no setting for that


def _interrupts(cpus: dict[int, list[int]]) -> Iterator[str]:
    """Queues whose interrupts share a CPU, or have none of their own."""
    by_cpu: dict[int, list[int]] = defaultdict(list)
    for queue, allowed in cpus.items():
        if len(allowed) > 1:
            yield f"the interrupt of receive queue {queue} goes to {len(allowed)} CPUs: one in {_AFFINITY}"
        else:
            for cpu in allowed:
                by_cpu[cpu].append(queue)
    for cpu, queues in sorted(by_cpu.items()):
        if len(queues) > 1:
            shared = ", ".join(map(str, sorted(queues)))
            yield f"the interrupts of receive queues {shared} go to CPU {cpu}: one each in {_AFFINITY}"
