"""Putting states onto network cards, and back from one that has a connection's policies but takes not its states."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ikeclone.backend import Offload
from ikeclone_xfrm.half import Half
from ikeclone_xfrm.offload import CardRefused
from ikeclone_xfrm.pair import Pair
from ikeclone_xfrm.session import Session
from ikeclone_xfrm.trap import Trap

log = logging.getLogger(__name__)


async def put(half: Half, trap: Trap | None, pairs: Iterable[Pair], session: Session) -> None:
    """Put a half of one of these pairs into the kernel; `trap` is its connection's. With nic-offload=auto, the whole
    connection leaves a card that refuses. Raises BackendError, or CardRefused.
    """
    try:
        await half.put(session.xfrm)
    except CardRefused as error:
        if trap is None or trap.card is None or trap.card.wanted is not Offload.AUTO:
            raise
        log.info("%s: %s", trap.policy.connection, error)
        await _retreat(trap, pairs, session)
        await half.put(session.xfrm)


async def _retreat(trap: Trap, pairs: Iterable[Pair], session: Session) -> None:
    """Take a connection's policies and states off a card, as states there serve no policies that are not."""
    await session.placement.retreat(trap)
    for pair in pairs:
        if pair.sa.connection == trap.policy.connection:
            place = await session.placement.of(pair.sa, trap)
            for half in (pair.outbound, pair.inbound):
                await half.settle(place, session.xfrm)
