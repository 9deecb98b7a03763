"""Where the work of IPsec is done: by the CPU that has the packet, by several CPUs, or by a network card."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

from ikeclone.backend import BackendError, ChildSa, IPAddress, Offload, Policy
from ikeclone_xfrm.errors import XfrmError
from ikeclone_xfrm.offload import Card
from ikeclone_xfrm.pcrypt import Pcrypt
from ikeclone_xfrm.trap import Trap

WayTo = Callable[[IPAddress], Awaitable[tuple[int | None, str | None]]]


@dataclass(frozen=True, slots=True)
class Place:
    """The card that is to have a state, if any, and the context in which the kernel has to make the state."""

    card: Card | None = None
    making: Callable[[], AbstractAsyncContextManager[None]] = nullcontext


class Placement:
    """Says what goes where; `way_to` names the device that leads to a peer. Methods raise BackendError."""

    def __init__(self, way_to: WayTo) -> None:
        self.pcrypt = Pcrypt()
        self._way_to = way_to
        self._retreated: set[str] = set()

    async def of(self, sa: ChildSa, trap: Trap | None) -> Place:
        """The place of an SA's states; `trap` is its connection's."""
        card = await self._card(sa)
        if card is not None:
            return Place(replace(card, policies=trap is not None and trap.card is not None))
        if sa.handling.parallel is not None:
            return Place(making=partial(self.pcrypt.preferred, sa.connection, sa.suite, sa.handling.parallel))
        return Place()

    async def route(self, trap: Trap, policy: Policy) -> None:
        """Put policies where they belong: onto the card if it can have them."""
        card = await self._card(policy)
        if card is None or card.wanted is Offload.CRYPTO or policy.connection in self._retreated:
            await trap.install(policy)
            return
        try:
            await trap.install(policy, card)
        except XfrmError as error:
            if card.wanted is Offload.PACKET:
                raise BackendError(f"{card.name} refuses nic-offload=packet: {error.text}") from error
            await trap.install(policy)

    async def retreat(self, trap: Trap) -> None:
        """Take policies off the card for good: it does not take the states that they need."""
        self._retreated.add(trap.policy.connection)
        await trap.install(trap.policy)

    async def _card(self, wanted: Policy | ChildSa) -> Card | None:
        """The device that leads to the peer, when it is to do some of the work."""
        offload = wanted.handling.offload
        if offload is Offload.NO:
            return None
        index, _ = await self._way_to(wanted.path.remote)
        if index is None:
            raise BackendError(f"no device leads to {wanted.path.remote}: there is none for nic-offload=")
        return Card(index, offload)
