"""Which CPU works off which receive queue of a device: its interrupts, and where they go."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

from ikeclone_steering.links import Link
from ikeclone_steering.netdev import Napi, Queue, dump

_INTERRUPTS: Final = Path("/proc/interrupts")
_ONLINE: Final = Path("/sys/devices/system/cpu/online")
_AFFINITY: Final = Path("/proc/irq")


async def queue_of_cpus(link: Link) -> dict[int, int]:
    """For each CPU that works off a queue alone, the first such queue."""
    found: dict[int, int] = {}
    for queue, interrupt in sorted((await _interrupts(link)).items(), reverse=True):
        cpus = _cpus(interrupt)
        if len(cpus) == 1:
            found[cpus[0]] = queue
    return found


async def cpus_of_queues(link: Link) -> dict[int, list[int]]:
    """For each receive queue whose interrupt is known, the CPUs that this may go to."""
    return {queue: _cpus(interrupt) for queue, interrupt in (await _interrupts(link)).items()}


async def _interrupts(link: Link) -> dict[int, int]:
    """The interrupt of each receive queue, as the driver says (Linux 6.8), or else as it is named."""
    queues, napis = await dump(Queue, link.index), await dump(Napi, link.index)
    of_napi = {napi.get_attr("ID"): napi.get_attr("IRQ") for napi in napis}
    receiving = {q.get_attr("ID"): q.get_attr("NAPI_ID") for q in queues if q.get_attr("TYPE") == Queue.RECEIVES}
    said = {queue: of_napi[napi] for queue, napi in receiving.items() if of_napi.get(napi)}
    return said or _named(link.name)


def _named(device: str) -> dict[int, int]:
    """By what drivers call their interrupts: i40e-eth0-TxRx-3, eth0-rx-3, eth0-3."""
    name = re.compile(rf"(?:.*[-:@ ])?{re.escape(device)}-(?:(?:TxRx|rx|fp|combined)-)?([0-9]+)", re.IGNORECASE)
    found: dict[int, int] = defaultdict(int)
    for line in _INTERRUPTS.read_text().splitlines():
        number, _, rest = line.partition(":")
        if number.strip().isdigit() and (match := name.fullmatch(rest.split()[-1])):
            found.setdefault(int(match[1]), int(number))
    return dict(found)


def _cpus(interrupt: int) -> list[int]:
    """Where an interrupt goes, as far as the kernel says."""
    for file in ("effective_affinity_list", "smp_affinity_list"):
        try:
            text = (_AFFINITY / str(interrupt) / file).read_text().strip()
        except OSError:
            continue
        if text:
            return numbers(text)
    return []


def online_cpus() -> list[int]:
    """The CPUs that work now."""
    return numbers(_ONLINE.read_text().strip())


def numbers(text: str) -> list[int]:
    """A list of the kernel's, as 0-3,8."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
