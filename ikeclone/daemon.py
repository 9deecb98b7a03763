"""The daemon on one screen: sockets and clock to the state machine, its actions to the data plane."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from datetime import UTC, datetime

from ikeclone import config
from ikeclone.apply import Applier
from ikeclone.backend import Acquire, Backend, BackendError, Event, Expire, Lost, Path, Remapped
from ikeclone.backends import start_backend
from ikeclone.changes import Changes
from ikeclone.commands import Commands, Progress
from ikeclone.control import models
from ikeclone.control.server import ControlServer
from ikeclone.credentials import Credentials
from ikeclone.errors import LocalError
from ikeclone.fetching import Fetcher
from ikeclone.ike.actions import Action, Fetch, IkeKeyed, InstallChild, Kind, Report
from ikeclone.ike.endpoint import Endpoint
from ikeclone.ike.host import Settings
from ikeclone.ike.state import State
from ikeclone.keylog import KeyLog
from ikeclone.naming import Naming
from ikeclone.net import Net
from ikeclone.options import DaemonOptions
from ikeclone.pki.standing import Query
from ikeclone.reloading import Reloading
from ikeclone.roaming import Roaming
from ikeclone.steered import Steered

log = logging.getLogger("ikeclone")

# How long `down` of everything may take at the end, in seconds: peers that answer are told, others are not waited for.
FAREWELL = 2.0

# Seconds between two looks at which clones are used and which CPUs are there.
SURVEY = 5.0


def date() -> datetime:
    """The date that certificates are checked by."""
    return datetime.now(UTC)


class Daemon:
    """One state machine, one data plane, the sockets of every local address, and the control socket."""

    def __init__(
        self, options: DaemonOptions, configuration: config.Config, credentials: Credentials, backend: Backend
    ) -> None:
        self.backend = backend
        self._applier = Applier(backend)
        self.steered = Steered(configuration.setup.steered(), backend)
        self._keylog = KeyLog(options.keylog) if options.keylog else None
        self.now, self.wall = time.monotonic, time.time
        self.started = self.now()
        setup = configuration.setup
        settings = Settings(
            cookie_threshold=setup.cookie_threshold,
            half_open_limit=setup.max_halfopen_ike,
            uniqueids=setup.uniqueids,
            key_log=options.keylog is not None,
            redirection=setup.redirection(),
        )
        self.endpoint = Endpoint(self.backend, os.urandom, date, self.now(), credentials, settings)
        self._changes = Changes(self.endpoint.tunnels, self.backend.name)
        self._naming = Naming(self.endpoint.tunnels, setup.dns_resolver)
        self._net = Net(self._received)
        self._fetcher = Fetcher(self._fetched)
        self.roaming = Roaming(configuration, self._net, backend, self.endpoint, self.now)
        self.commands = Commands(self)
        self.reloading = Reloading(self, options, configuration)
        self._control = ControlServer(options.socket, self._command)
        self._ready, self._stirred = asyncio.Event(), asyncio.Event()
        self._stopping, self._down = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Work until `stop`; raises LocalError when something that is needed is not to be had."""
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._start()
            works = self._work(), self._hear_backend(), self._survey(), self.roaming.run(self.stir)
            tasks = [asyncio.create_task(work) for work in works]
            stopping = asyncio.create_task(self._stopping.wait())
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await self._say_goodbye()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._naming.stop()
            await self._changes.stop()
            await self._control.close()
            self.roaming.close()
            await self._net.close()
            await self._fetcher.stop()
            await self.steered.stop()

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()

    def stir(self) -> None:
        """The state machine may have something to do or to send."""
        self._stirred.set()

    async def _start(self) -> None:
        await self._control.start()
        await self.steered.start()
        self._naming.start()
        connections = await self.roaming.start()
        self._ready.set()
        log.info("ready: %d connections, data plane %s", connections, self.backend.name)

    async def _command(self, command: models.Command, progress: Progress) -> models.Report:
        """Carry out a command as soon as everything is there that it may need."""
        await self._ready.wait()
        return await self.commands.handle(command, progress)

    def _received(self, data: bytes, path: Path) -> None:
        self.endpoint.receive(data, path, self.now())
        self.stir()

    def _fetched(self, query: Query, data: bytes | None) -> str | None:
        wrong = self.endpoint.fetched(query, data, self.now())
        self.stir()
        return wrong

    async def _work(self) -> None:
        """Do what is due, then what the state machine asks for; sleep until a timer or news."""
        while True:
            self.endpoint.tick(self.now())
            await self._settle()
            if self._stopping.is_set() and all(sa.state is State.DEAD for sa in self.endpoint.ike_sas()):
                self._down.set()
            due = self.endpoint.timer()
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - self.now())):
                    await self._stirred.wait()
            except TimeoutError:
                continue
            self._stirred.clear()

    async def _settle(self) -> None:
        while actions := self.endpoint.actions():
            for action in actions:
                await self._do(action)
        for datagram in self.endpoint.datagrams():
            await self._net.send(datagram)

    async def _do(self, action: Action) -> None:
        match action:
            case Report():
                self._report(action)
            case Fetch(order):
                self._fetcher.start(order)
            case IkeKeyed():
                if self._keylog is not None:
                    self._keylog.ike(action)
            case _:
                if self._keylog is not None and isinstance(action, InstallChild):
                    self._keylog.child(action.sa)
                try:
                    await self._applier.do(action)
                    await self.steered.told(action)
                    self._changes.told(action)
                    self._naming.told(action)
                except BackendError as error:
                    log.warning("%s: %s", type(action).__name__, error)
                    if isinstance(action, InstallChild):
                        self.endpoint.install_failed(action.sa.inbound_spi, str(error), self.now())

    def _report(self, report: Report) -> None:
        if self._applier.refutes(report):
            return
        level = logging.WARNING if report.kind in (Kind.FAILED, Kind.REFUSED) else logging.INFO
        log.log(level, "%s: %s", report.connection, report.text)
        self.commands.tell(report)

    async def _hear_backend(self) -> None:
        while True:
            self._heard(await self.backend.event())
            self.stir()

    async def _survey(self) -> None:
        while True:
            await asyncio.sleep(SURVEY)
            await self.steered.refresh()
            try:
                counters = await self.backend.counters() if self.endpoint.wants_counters else {}
            except BackendError as error:
                log.warning("no counters, so no clone is idle: %s", error)
                continue
            self.endpoint.survey(counters, self.now())
            self.stir()

    def _heard(self, event: Event) -> None:
        now = self.now()
        match event:
            case Acquire(connection, cpu, packet):
                self.endpoint.acquire(connection, cpu, now, packet)
            case Expire():
                self.endpoint.expire(event, now)
            case Lost():
                log.warning("%s: Child SAs lost: %d", event.reason, len(event.inbound_spis))
                self.endpoint.lost(event, now)
            case Remapped():
                self.endpoint.remapped(event, now)

    async def _say_goodbye(self) -> None:
        for tunnel in list(self.endpoint.tunnels.values()):
            tunnel.down(self.now())
        self.stir()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await self._down.wait()


def run(options: DaemonOptions) -> int:
    """Run a daemon until SIGTERM or SIGINT; the exit status."""
    logging.basicConfig(level=options.log_level.upper(), stream=sys.stderr, format="%(levelname)s %(message)s")
    try:
        asyncio.run(_run(options))
    except LocalError as error:
        log.error("%s", error)
        return 1
    return 0


async def _run(options: DaemonOptions) -> None:
    configuration = config.load(options.config)
    credentials = config.load_credentials(configuration, options.secrets, date())
    backend = await start_backend(options.backend)
    try:
        daemon = Daemon(options, configuration, credentials, backend)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, daemon.stop)
        loop.add_signal_handler(signal.SIGHUP, daemon.reloading.soon)
        await daemon.run()
    finally:
        await backend.stop()
