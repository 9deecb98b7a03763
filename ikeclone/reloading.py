"""Another configuration while the daemon runs: what is as before stays, with its SAs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Set
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ikeclone import config
from ikeclone.credentials import Credentials
from ikeclone.errors import ControlError, LocalError
from ikeclone.ike.removal import Removal
from ikeclone.options import DaemonOptions

if TYPE_CHECKING:
    from ikeclone.daemon import Daemon

log = logging.getLogger("ikeclone")

PATIENCE: Final = 2.0  # seconds that peers have to answer that a connection is gone


class Reloading:
    """Reads the files of the daemon again. `configuration` is what it works with."""

    def __init__(self, daemon: Daemon, options: DaemonOptions, configuration: config.Config) -> None:
        self._daemon, self._options, self.configuration = daemon, options, configuration
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def soon(self) -> None:
        """Do it, and log what came of it (SIGHUP)."""
        task = asyncio.get_running_loop().create_task(self._logged())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def reload(self, progress: Callable[[str], None]) -> str:
        """Read the files again and say what has changed; raises ControlError with the mistakes in them."""
        async with self._one_at_a_time:
            try:
                configuration, credentials = await asyncio.to_thread(self._read)
            except LocalError as error:
                raise ControlError(f"nothing is changed:\n{error}") from None
            return await self._change(configuration, credentials, progress)

    def _read(self) -> tuple[config.Config, Credentials]:
        configuration = config.load(self._options.config)
        return configuration, config.load_credentials(configuration, self._options.secrets, datetime.now(UTC))

    async def _change(
        self, configuration: config.Config, credentials: Credentials, progress: Callable[[str], None]
    ) -> str:
        former, self.configuration = self.configuration, configuration
        if former.setup != configuration.setup:
            progress("config setup has changed: what it says is for the next start of the daemon")
        self._daemon.endpoint.learn(credentials)
        old, new = former.active, configuration.active
        gone = {name for name, conn in old.items() if new.get(name) != conn}
        await self._remove(gone)
        fresh = [conn for name, conn in new.items() if old.get(name) != conn]
        await self._daemon.roaming.change(gone, fresh, configuration)
        self._daemon.stir()
        return _told(old.keys(), new.keys(), gone)

    async def _remove(self, gone: Set[str]) -> None:
        daemon = self._daemon
        with daemon.commands.watch() as reports:
            removals = [Removal(daemon.endpoint, name, daemon.now()) for name in gone & daemon.endpoint.tunnels.keys()]
            daemon.stir()
            try:
                async with asyncio.timeout(PATIENCE):
                    while not all(removal.done for removal in removals):
                        await reports.get()
            except TimeoutError:
                log.warning("not every peer has answered that its connection is gone")
        for removal in removals:
            removal.finish(daemon.now())

    async def _logged(self) -> None:
        try:
            log.info("reload: %s", await self.reload(log.info))
        except LocalError as error:
            log.error("reload: %s", error)


def _told(old: Set[str], new: Set[str], gone: Set[str]) -> str:
    """What became of the connections, in one sentence."""
    kinds = {"new": new - old, "changed": new & gone, "gone": old - new}
    parts = [f"{what}: {', '.join(sorted(names))}" for what, names in kinds.items() if names]
    return "; ".join([f"connections as before: {len(new & old - gone)}", *parts])
