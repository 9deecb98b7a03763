"""What leftupdown= names, run at each change; what it says goes to the log."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ikeclone.updown import Change
from ikeclone_updown.devices import device_of
from ikeclone_updown.environment import Run, runs
from ikeclone_updown.process import execute

log = logging.getLogger(__name__)

LIMIT: Final = 10.0  # seconds for one run
_AT_ONCE: Final = 8  # processes


class Scripts:
    """ikeclone.updown.Updown: runs a change's command for each pair of its selectors, one after the other."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def run(self, change: Change) -> None:
        """See the contract. One run that fails does not keep the others from being tried."""
        async with self._places:
            device = await device_of(change.policy.path.local)
            for run in runs(change, device):
                await _run(change, run)


async def _run(change: Change, run: Run) -> None:
    title = f"{change.policy.connection}: {run.step}"
    try:
        code, output = await execute(change.command, run.environment, LIMIT)
    except OSError as error:
        log.warning("%s: %s cannot be run: %s", title, change.command[0], error.strerror)
        return
    for line in output.decode(errors="backslashreplace").splitlines():
        log.info("%s: %s", title, "".join(each if each.isprintable() else "?" for each in line))
    if code is None:
        log.warning("%s: %s was stopped: it takes more than %g seconds", title, change.command[0], LIMIT)
    elif code:
        log.warning("%s: %s ended with exit code %d", title, change.command[0], code)
