"""What leftupdown= names, run at each change."""

from __future__ import annotations

import asyncio
from typing import Final

from ikeclone.updown import Change
from ikeclone_updown.devices import device_of
from ikeclone_updown.environment import runs
from ikeclone_updown.process import run

_AT_ONCE: Final = 8  # processes


class Scripts:
    """ikeclone.updown.Updown: runs a change's command for each pair of its selectors, one after the other."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def run(self, change: Change) -> None:
        """See the contract. One run that fails does not keep the others from being tried."""
        async with self._places:
            device = await device_of(change.policy.path.local)
            for each in runs(change, device):
                await run(f"{change.policy.connection}: {each.step}", change.command, each.environment)
