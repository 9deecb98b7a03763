"""A connection's policies in the kernel, and when they raise acquires for single CPUs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ikeclone.backend import BackendError, Policy
from ikeclone_xfrm.offload import Card
from ikeclone_xfrm.policies import Message, identity, messages, outgoing
from ikeclone_xfrm.shelf import Shelf

log = logging.getLogger(__name__)

ENOUGH: Final = 16  # acquires of CPUs that are known to want a clone
FIRST_PAUSE: Final = 0.1  # seconds
LONGEST_PAUSE: Final = 60.0
TELL_AGAIN: Final = 1.0  # seconds


class Trap:
    """Policies that are armed, or not: armed, a packet on a CPU without a state of its own raises an acquire.

    No packet is lost by that (see `decline`), but each one raises another acquire until the CPU has a state. So a
    stream disarms the trap, for a pause: a change of the connection's states ends it, and it gets longer while acquires
    lead to nothing, since the peer refuses or the limit is reached. Arming and disarming makes the kernel forget the
    routes that sockets keep, with the states in them: so streams change to a new clone.
    """

    def __init__(
        self, shelf: Shelf, policy: Policy, reqid: int, spawn: Callable[[Trap], None], whole: int | None = None
    ) -> None:
        """`whole` is the reqid of the connection that this one is a part of."""
        self.policy, self.reqid, self.whole = policy, reqid, whole
        self._shelf, self._spawn = shelf, spawn
        self.card: Card | None = None
        self._installed: list[Message] = []
        self._armed = False
        self._told: dict[int, float] = {}
        self._repeated = 0
        self._pause = FIRST_PAUSE
        self._timer: asyncio.TimerHandle | None = None
        self._changing = asyncio.Lock()

    async def install(self, policy: Policy, card: Card | None = None) -> None:
        """Take this policy's traffic, in place of the former's, on a card if that is named; raises BackendError."""
        wanted = messages(policy, self.reqid, self.whole, acquire_per_cpu=self._armed, card=card)
        async with self._changing:
            self.card = card
            before, self.policy = self._installed, policy
            await self._shelf.refuse_company(_beside(wanted, before))
            going = _beside(before, wanted)
            # If the kernel refuses some, the others are there, and have to be taken out one day.
            self._installed = [*wanted, *going]
            await self._update(wanted)
            while going:
                await self._shelf.take(self, going.pop())
            self._installed = wanted

    async def restore(self) -> None:
        """Put back what somebody may have taken out of the kernel; raises BackendError."""
        async with self._changing:
            await self._update(self._installed)

    async def remove(self) -> None:
        """Let this traffic go its way without us; raises BackendError."""
        self.rest()
        async with self._changing:
            while self._installed:
                await self._shelf.take(self, self._installed.pop())

    def acquired(self, cpu: int) -> bool:
        """A packet on this CPU has raised an acquire; whether that is news."""
        now = asyncio.get_running_loop().time()
        if now - self._told.get(cpu, -TELL_AGAIN) >= TELL_AGAIN:
            self._told[cpu] = now
            return True
        self._repeated += 1
        return False

    @property
    def busy(self) -> bool:
        """Whether acquires come that say nothing new: `disarm` is due."""
        return self._armed and self._repeated >= ENOUGH

    async def disarm(self) -> None:
        """Raise no further acquire for a while; raises BackendError."""
        await self._set(armed=False)
        self.rest()
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._spawn, self)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def arm(self, *, changed: bool) -> None:
        """Raise acquires again. `changed`: there are other states now, a reason to try all CPUs anew.

        Raises BackendError.
        """
        self.rest()
        if changed:
            self._pause = FIRST_PAUSE
            self._told.clear()
        self._repeated = 0
        await self._set(armed=True)

    def rest(self) -> None:
        """Do not arm at the end of a pause."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _set(self, *, armed: bool) -> None:
        async with self._changing:
            if not self._installed:
                return
            self._armed = armed
            wanted = messages(self.policy, self.reqid, self.whole, acquire_per_cpu=armed, card=self.card)
            await self._update([message for message in wanted if outgoing(message)])
            self._installed = wanted

    async def _update(self, wanted: list[Message]) -> None:
        for message in wanted:
            await self._shelf.put(self, message)


def _beside(messages: list[Message], others: list[Message]) -> list[Message]:
    """Those for policies that the others are not for."""
    names = [identity(other) for other in others]
    return [message for message in messages if identity(message) not in names]


async def restore(trap: Trap) -> None:
    """Put a trap's policies back; a kernel that refuses is logged: others are to be put back all the same."""
    try:
        await trap.restore()
    except BackendError as error:
        log.warning("%s: its policies cannot be put back: %s", trap.policy.connection, error)


async def rearm(trap: Trap) -> None:
    """Arm a trap whose pause is over; a kernel that refuses is logged."""
    try:
        await trap.arm(changed=False)
    except BackendError as error:
        log.warning("%s: clones are not opened on demand: %s", trap.policy.connection, error)
