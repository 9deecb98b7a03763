"""The commands of the control socket, carried out on the state machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Container, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ikeclone import __version__
from ikeclone.control import models
from ikeclone.doctor import examine
from ikeclone.errors import ControlError
from ikeclone.ike.actions import Kind, Report
from ikeclone.ike.redirect import send_away
from ikeclone.reports import View

if TYPE_CHECKING:
    from ikeclone.daemon import Daemon

Progress = Callable[[str], None]


class Commands:
    """What users ask of the daemon. A command that waits for the peer tells of every step on the way."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._watchers: set[asyncio.Queue[Report]] = set()

    def tell(self, report: Report) -> None:
        """News from the state machine, for the commands that wait for it."""
        for watcher in self._watchers:
            watcher.put_nowait(report)

    async def handle(self, command: models.Command, progress: Progress) -> models.Report:
        """Carry out a command; raises LocalError with what went wrong."""
        self._check_taken(getattr(command, "name", None))
        match command:
            case models.Up():
                return await self._up(command, progress)
            case models.Down(name=name):
                return await self._down(name, progress)
            case models.Rekey():
                return await self._rekey(command, progress)
            case models.Redirect():
                return self._redirect(command)
            case models.TrafficStatus(name=name):
                return (await self._view()).traffic(name)
            case models.Clones(name=name):
                return (await self._view()).clones(name)
            case models.Status():
                return await self._status()
            case models.Reload():
                return models.Done(text=await self._daemon.reloading.reload(progress))
            case models.Doctor():
                return await examine(self._daemon.backend)
            case models.Stop():
                self._daemon.stop()
                return models.Done(text="the daemon stops")

    def _check_taken(self, name: str | None) -> None:
        """See that a connection that the configuration has is not left out; raises ControlError that says why it is."""
        daemon = self._daemon
        if name is None or name in daemon.endpoint.tunnels:
            return
        if (why := daemon.roaming.left_out.get(name)) is not None:
            raise ControlError(f"{name} is left out: {why}")
        if any(conn.name == name for conn in daemon.reloading.configuration.connections):
            raise ControlError(f"{name} is left out: it has auto=ignore, which is the default; say auto=add and reload")

    async def _up(self, command: models.Up, progress: Progress) -> models.Done:
        name, done = command.name, Kind.IKE_UP if command.ike else Kind.CHILD_UP
        with self.watch() as reports:
            tunnel = self._daemon.endpoint.tunnel(name)
            tunnel.up(self._daemon.now(), ike_only=command.ike)
            self._daemon.stir()
            async for report in _of(reports, tunnel.parts):
                if report.kind is Kind.FAILED:
                    raise ControlError(f"{name} is not up: {report.text}")
                progress(report.text)
                if report.kind is done:
                    return models.Done(text=f"{name} is up")
        raise AssertionError("the reports ended")

    async def _down(self, name: str, progress: Progress) -> models.Done:
        with self.watch() as reports:
            tunnels = self._daemon.endpoint.named(name)
            for tunnel in tunnels:
                tunnel.down(self._daemon.now())
            waiting = {tunnel.connection.name for tunnel in tunnels}
            self._daemon.stir()
            async for report in _of(reports, waiting):
                progress(report.text)
                if report.kind is Kind.IKE_DOWN:
                    waiting.discard(report.connection)
                if not waiting:
                    return models.Done(text=f"{name} is down")
        raise AssertionError("the reports ended")

    async def _rekey(self, command: models.Rekey, progress: Progress) -> models.Done:
        name, done = command.name, Kind.IKE_REKEYED if command.ike or command.reauth else Kind.CHILD_REKEYED
        with self.watch() as reports:
            tunnels = self._daemon.endpoint.named(name)
            waiting = sum(tunnel.rekey(self._daemon.now(), command.ike, command.reauth) for tunnel in tunnels)
            self._daemon.stir()
            each = {part.connection.name for tunnel in tunnels for part in tunnel.parts.under(tunnel)}
            async for report in _of(reports, each):
                if report.kind in (Kind.FAILED, Kind.IKE_DOWN):
                    raise ControlError(f"{name} is not rekeyed: {report.text}")
                progress(report.text)
                waiting -= report.kind is done
                if waiting <= 0:
                    return models.Done(text=f"{name} is rekeyed")
        raise AssertionError("the reports ended")

    def _redirect(self, command: models.Redirect) -> models.Done:
        for tunnel in self._daemon.endpoint.named(command.name):
            send_away(tunnel, command.to, self._daemon.now())
        self._daemon.stir()
        return models.Done(text=f"{command.name} is sent to {command.to}")

    async def _status(self) -> models.StatusReport:
        view, daemon = await self._view(), self._daemon
        return models.StatusReport(
            version=__version__,
            uptime=daemon.now() - daemon.started,
            backend=daemon.backend.name,
            data_plane={**daemon.backend.describe(), **daemon.steered.describe()},
            connections=view.connections(),
            ike_sas=view.ike_sas(),
            pools=view.pools(),
            counters=dict(daemon.endpoint.counters),
        )

    async def _view(self) -> View:
        daemon = self._daemon
        return View(daemon.endpoint, await daemon.backend.counters(), daemon.now(), daemon.wall())

    @contextmanager
    def watch(self) -> Iterator[asyncio.Queue[Report]]:
        """All news from now on."""
        queue: asyncio.Queue[Report] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            yield queue
        finally:
            self._watchers.discard(queue)


async def _of(reports: asyncio.Queue[Report], connections: Container[str]) -> AsyncIterator[Report]:
    while True:
        report = await reports.get()
        if report.connection in connections:
            yield report
