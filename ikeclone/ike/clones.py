"""Which Child SA of a connection serves which CPU (RFC 9611)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ikeclone.ike.child import Child, ChildState


class Clones:
    """The Child SAs of one connection: a fallback bound to no CPU, and clones bound to one each.

    `limit` is the most clones we ask for. `queued` has the CPUs that wait for the peer's window, `pending` those
    that we asked for: what is being negotiated counts, what only waits can still be served by a clone of the peer's.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.children: dict[int, Child] = {}
        self.queued: set[int] = set()
        self.pending: set[int] = set()
        self.per_resource = False
        self.refused_until = 0.0

    def __iter__(self) -> Iterator[Child]:
        return iter(self.children.values())

    @property
    def fallback(self) -> Child | None:
        """The newest unbound SA that is not about to go."""
        return next((c for c in reversed(self.children.values()) if c.cpu is None and _lasting(c)), None)

    @property
    def clones(self) -> list[Child]:
        """Clones that are not about to go: a rekeyed one is counted once."""
        return [c for c in self if c.cpu is not None and _lasting(c)]

    def limit(self, cpus: frozenset[int]) -> int:
        """How many clones we ask for: as configured, or one for each CPU."""
        return len(cpus) if self._limit is None else self._limit

    def may_open(self, cpu: int, cpus: frozenset[int], now: float) -> bool:
        """Whether traffic on a CPU is a reason to open a clone now."""
        return (
            self.per_resource
            and self.fallback is not None
            and cpu not in self.queued
            and now >= self.refused_until
            and self.lacks(cpu, cpus)
        )

    def lacks(self, cpu: int, cpus: frozenset[int]) -> bool:
        """Whether this CPU has no clone, none is being negotiated for it, and the limit leaves room for one."""
        return (
            cpu in cpus
            and cpu not in self.pending
            and all(clone.cpu != cpu for clone in self.clones)
            and len(self.clones) + len(self.pending) < self.limit(cpus)
        )

    def may_accept(self, cpus: frozenset[int]) -> bool:
        """Whether we take one more clone from the peer: twice our CPUs at least (RFC 9611 section 5)."""
        return len(self.clones) < max(2 * len(cpus), 2 * self.limit(cpus))

    def least_loaded(self, cpus: frozenset[int]) -> int:
        """The CPU with the fewest clones, for one that the peer opens (RFC 9611 section 3); among equals, one that
        waits.
        """
        load = Counter(clone.cpu for clone in self.clones)
        load.update(self.pending)
        return min(sorted(cpus), key=lambda cpu: (load[cpu], cpu not in self.queued))

    def free_instance(self) -> int:
        """The lowest number that no clone has."""
        used = {clone.instance for clone in self if clone.cpu is not None}
        return next(i for i in range(1, len(used) + 2) if i not in used)

    def outbound(self, cpu: int | None) -> Child | None:
        """The SA that sends for this CPU, bound to it or, with None, unbound."""
        return next((c for c in self if c.cpu == cpu and c.active), None)

    def successor(self, child: Child) -> Child | None:
        """Who sends for the child's CPU when it goes: the newest one that is left, one that lasts if possible."""
        others = [c for c in self if c.cpu == child.cpu and c is not child]
        return max(others, key=lambda c: (_lasting(c), c.serial), default=None)


def _lasting(child: Child) -> bool:
    return child.state in (ChildState.INSTALLED, ChildState.REKEYING)
