"""The way out: packets for tunnels are spread over CPUs where they come in, so that each CPU's clone has its share."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final

from ikeclone.bpf import Map, MapType, Program
from ikeclone.steering import SteeringError
from ikeclone_steering.links import Link, Links
from ikeclone_steering.masks import Masks
from ikeclone_steering.queues import online_cpus
from ikeclone_steering.spread import to_cpu_of_flow
from ikeclone_steering.xdp import QUEUE, load

log = logging.getLogger(__name__)
NAME: Final = "ikeclone_inside"


class Spread:
    """The program and its maps in the kernel."""

    def __init__(self, cpus: list[int]) -> None:
        """Raises OSError when the kernel takes no such program."""
        self._closing = ExitStack()
        try:
            self.programs = self._load(cpus)
        except OSError:
            self._closing.close()
            raise

    def _load(self, cpus: list[int]) -> dict[str, Program]:
        cpu_of_slot = Map(MapType.ARRAY, len(cpus), "ikeclone_slots")
        self._closing.callback(cpu_of_slot.close)
        threads = Map(MapType.CPUMAP, max(cpus) + 1, "ikeclone_cpus")
        self._closing.callback(threads.close)
        for slot, cpu in enumerate(cpus):
            threads.put(struct.pack("=I", cpu), QUEUE)
            cpu_of_slot.put(struct.pack("=I", slot), cpu)
        return load(to_cpu_of_flow(cpu_of_slot, len(cpus), threads), NAME, self._closing)

    def close(self) -> None:
        self._closing.close()


class Inside:
    """The devices that `steering-inside=` names. One that comes later is taken then."""

    def __init__(self, names: Iterable[str], links: Links, masks: Masks) -> None:
        self._links, self._masks = links, masks
        self._said = dict.fromkeys(names, "")
        self._taken: set[int] = set()
        self._spread: Spread | None = None

    async def take(self) -> None:
        """Spread what comes in by those devices that are there and were not before."""
        present = {link.name: link for link in await self._links.all()} if self._said else {}
        for name in self._said:
            link = present.get(name)
            if link is None:
                if not self._said[name]:
                    log.warning("steering-inside=%s: there is no such device yet", name)
                self._said[name] = f"none on {name}: there is no such device"
            elif link.index not in self._taken:
                self._taken.add(link.index)
                self._said[name] = await self._first(link)
                log.info("transmit steering: %s", self._said[name])

    async def _first(self, link: Link) -> str:
        """By XDP, or else by RPS; in words."""
        cpus = online_cpus()
        try:
            mode = await self._attach(link, cpus)
        except SteeringError as refusal:
            try:
                return f"{await self._masks.spread(link)} (not XDP: {refusal})"
            except SteeringError as error:
                return f"none on {link.name} (not XDP: {refusal}; RPS: {error})"
        return f"XDP ({mode}) on {link.name}, by addresses and ports over {len(cpus)} CPUs"

    async def _attach(self, link: Link, cpus: list[int]) -> str:
        try:
            self._spread = self._spread or Spread(cpus)
        except OSError as error:
            raise SteeringError(f"the kernel takes no XDP program with a cpumap ({error.strerror})") from error
        return await self._links.attach(link, self._spread.programs)

    def describe(self) -> dict[str, str]:
        """For `status`."""
        return {"transmit steering": "; ".join(self._said.values())} if self._said else {}

    def close(self) -> None:
        if self._spread is not None:
            self._spread.close()
