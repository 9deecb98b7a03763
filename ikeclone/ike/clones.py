"""Which Child SA of a connection serves which CPU (RFC 9611)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count

from ikeclone.ike.child import Child, ChildState
from ikeclone.ike.timers import pause

# The golden ratio: multiples of it, modulo 1, spread evenly however many there are.
FIRST_PORT = 49152
_SPREAD = 0.6180339887498949


class Clones:
    """The Child SAs of one connection: a fallback bound to no CPU, and clones bound to one each.

    `limit` is for how many CPUs we ask for clones. `queued` are the CPUs whose requests wait for room in the peer's
    window, `asked` those whose requests await a response; None is the fallback. `phase` (0 to 1, random) is where
    the rekey times and ports of this connection's instances begin.
    """

    def __init__(self, limit: int | None, phase: float) -> None:
        self._limit, self._phase = limit, phase
        self._identifiers = count(1)
        self.children: dict[int, Child] = {}
        self.queued: set[int | None] = set()
        self.asked: set[int | None] = set()
        self.per_resource = False
        self.refusals = 0
        self.refusal = ""
        self.refused_until = 0.0
        self._refused_in_a_row = 0

    def __iter__(self) -> Iterator[Child]:
        return iter(self.children.values())

    @property
    def fallback(self) -> Child | None:
        """The newest unbound SA that is not about to go."""
        return next((c for c in reversed(self.children.values()) if c.cpu is None and c.lasts), None)

    @property
    def clones(self) -> list[Child]:
        """Clones that are not about to go: a rekeyed one is counted once."""
        return [c for c in self if c.cpu is not None and c.lasts]

    @property
    def served(self) -> set[int]:
        """The CPUs that have a clone, whoever opened it."""
        return {c.cpu for c in self.clones if c.cpu is not None}

    @property
    def pending(self) -> set[int | None]:
        """What we are opening."""
        return self.queued | self.asked

    def limit(self, cpus: frozenset[int]) -> int:
        """For how many CPUs we ask for clones: as configured, or for each."""
        return len(cpus) if self._limit is None else self._limit

    def may_open(self, cpu: int, cpus: frozenset[int], now: float) -> bool:
        """Whether traffic on a CPU is a reason to open a clone now."""
        if cpu not in cpus or cpu in self.pending or not self.wants(cpu, now):
            return False
        return len(self.served | (self.pending - {None})) < self.limit(cpus)

    def wants(self, cpu: int, now: float) -> bool:
        """Whether a clone for this CPU is still of use when its request can be sent.

        After a refusal one request at a time finds out whether the peer takes clones again.
        """
        if now < self.refused_until or (self._refused_in_a_row and self.asked - {None}):
            return False
        return self.per_resource and self.fallback is not None and cpu not in self.served

    def may_accept(self, cpus: frozenset[int]) -> bool:
        """Whether we take one more clone from the peer: twice our CPUs at least (RFC 9611 section 5)."""
        theirs = {clone.instance for clone in self.clones if not clone.opened_by_us}
        return len(theirs) < max(2 * len(cpus), 2 * self.limit(cpus))

    @property
    def regular(self) -> int:
        """How many SAs are bound to no CPU; some peers make more than one."""
        return sum(c.cpu is None and c.lasts for c in self)

    def least_loaded(self, cpus: frozenset[int]) -> int:
        """The CPU with the fewest clones, for one that the peer opens (RFC 9611 section 3).

        Of equals, one goes first whose own request was not sent yet: now it need not be.
        """
        load = Counter(clone.cpu for clone in self.clones)
        load.update(self.asked)
        return min(cpus, key=lambda cpu: (load[cpu], cpu not in self.queued, cpu))

    def refuse(self, why: str, now: float, delay: float, most: float, *, lasting: bool) -> float | None:
        """The peer takes no clone now: ask for none for a while, twice as long each time when it says so for good.

        Returns the seconds, or None when we were waiting already.
        """
        self.refusals += 1
        self.refusal = why
        if now < self.refused_until:
            return None
        if lasting:
            delay = pause(delay, self._refused_in_a_row, most)
            self._refused_in_a_row += 1
        self.refused_until = now + delay
        return delay

    def opened(self, now: float) -> None:
        """The peer has taken a clone, and not just before it refused others."""
        if now >= self.refused_until:
            self._refused_in_a_row = 0

    def forgive(self) -> None:
        """The peer may have changed: ask it anew."""
        self.refused_until = 0.0
        self._refused_in_a_row = 0

    def identifier(self) -> bytes:
        """A number for SA_RESOURCE_INFO that no clone had before and that reveals no CPU (RFC 9611 section 6)."""
        return (next(self._identifiers) % 2**32).to_bytes(4, "big")

    def free_instance(self) -> int:
        """The lowest number that no clone has; a replaced one leaves it to its successor."""
        used = {clone.instance for clone in self if clone.cpu is not None and clone.state is not ChildState.REKEYED}
        return next(i for i in range(1, len(used) + 2) if i not in used)

    def spread(self, instance: int) -> float:
        """A place between 0 and 1 for an instance, as far from the others' as can be."""
        return (self._phase + instance * _SPREAD) % 1.0

    def port(self, instance: int) -> int:
        """The UDP source port of an instance that shall have one of its own, among the dynamic ones (RFC 6335)."""
        return FIRST_PORT + int(self.spread(instance) * (65536 - FIRST_PORT))

    def outbound(self, cpu: int | None) -> Child | None:
        """The SA that sends for this CPU, bound to it or, with None, unbound."""
        return next((c for c in self if c.cpu == cpu and c.active), None)

    def successor(self, child: Child) -> Child | None:
        """Who sends for the child's CPU when it goes: the newest one that is left, one that lasts if possible."""
        others = [c for c in self if c.cpu == child.cpu and c is not child and c.state is not ChildState.DELETING]
        return max(others, key=lambda c: (c.instance == child.instance, c.lasts, c.serial), default=None)
