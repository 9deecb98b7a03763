"""The state machine's actions, told to the steering: which SPI is whose."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import entry_points

from ikeclone.backend import Backend
from ikeclone.ike.actions import Action, InstallChild, MoveChild, RemoveChild
from ikeclone.steering import GROUP, Arrival, Choice, Settings, Steering, SteeringError

log = logging.getLogger(__name__)


class Steered:
    """Keeps the steering up to date. What it refuses is logged, and takes nothing from the tunnels."""

    def __init__(self, settings: Settings, backend: Backend) -> None:
        self._steering, self._reason = _find(settings, backend)
        self._arrivals: dict[int, Arrival] = {}

    async def start(self) -> None:
        if self._steering is not None:
            try:
                await self._steering.start()
            except SteeringError as error:
                self._steering, self._reason = None, str(error)
        if self._steering is None:
            log.info("received packets are not steered: %s", self._reason)

    async def stop(self) -> None:
        if self._steering is not None:
            await self._steering.stop()

    async def told(self, action: Action) -> None:
        """An action was done by the data plane."""
        if self._steering is None:
            return
        try:
            await self._tell(self._steering, action)
        except SteeringError as error:
            log.warning("received packets are not steered: %s", error)

    async def refresh(self) -> None:
        """Have the steering follow routes and devices."""
        if self._steering is not None:
            try:
                await self._steering.refresh()
            except SteeringError as error:
                log.warning("received packets are not steered: %s", error)

    async def _tell(self, steering: Steering, action: Action) -> None:
        match action:
            case InstallChild(sa) if sa.cpu is not None:
                arrival = self._arrivals[sa.inbound_spi] = Arrival(
                    sa.inbound_spi, sa.cpu, sa.path, sa.udp_encapsulation
                )
                await steering.steer(arrival)
            case MoveChild(spi, path, encapsulated) if spi in self._arrivals:
                arrival = self._arrivals[spi] = Arrival(spi, self._arrivals[spi].cpu, path, encapsulated)
                await steering.steer(arrival)
            case RemoveChild(spi) if self._arrivals.pop(spi, None):
                await steering.release(spi)

    def describe(self) -> Mapping[str, str]:
        """For `status`."""
        return {"receive steering": f"none: {self._reason}"} if self._steering is None else self._steering.describe()


def _find(settings: Settings, backend: Backend) -> tuple[Steering | None, str]:
    """The installed steering, or none and why."""
    if backend.steers_itself:
        return None, f"the data plane {backend.name} brings each packet to the worker of its SA itself"
    if settings.choice is Choice.NO:
        return None, "steering=no"
    for entry in entry_points(group=GROUP):
        steering: Steering = entry.load()(settings)
        return steering, ""
    return None, "no plugin for it is installed"
