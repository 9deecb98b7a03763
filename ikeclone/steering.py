"""The contract between the daemon and what brings received packets to the CPU of their Child SA.

A steering plugin imports this module, `ikeclone.bpf` and nothing else of ours. It is told which inbound SPIs belong to
which CPUs, as clones come and go. One that cannot steer takes nothing from the tunnel: its packets are received on
whatever CPU the network card chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ikeclone.backend import Path
from ikeclone.errors import BackendError

__all__ = ["Arrival", "Choice", "Path", "Prospect", "Settings", "Steering", "SteeringError"]

GROUP = "ikeclone.steering"


class SteeringError(BackendError):
    """Packets cannot be steered here; says why."""


class Choice(Enum):
    """How received packets find the CPU of their SA (`steering=`): AUTO is the first of NIC, XDP, RPS that works."""

    AUTO = "auto"
    NO = "no"
    NIC = "nic"
    XDP = "xdp"
    RPS = "rps"


@dataclass(frozen=True, slots=True)
class Settings:
    """What `config setup` says of steering."""

    choice: Choice = Choice.AUTO
    # Devices by which packets for tunnels come in (`steering-inside=`): these are spread over CPUs there.
    inside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """ESP with this inbound SPI comes from `path.remote`, in UDP or not, and is for one CPU."""

    spi: int
    cpu: int
    path: Path
    encapsulated: bool


@dataclass(frozen=True, slots=True)
class Prospect:
    """How the packets of a device could be steered, or why not; `advice` is what would make it better, or empty."""

    device: str
    text: str
    works: bool
    advice: str = ""


class Steering(Protocol):
    """What steers, made of Settings. Every method raises SteeringError, with the reason, when the system refuses."""

    async def start(self) -> None:
        """Take out of the system what an earlier daemon left there."""
        ...

    async def steer(self, arrival: Arrival) -> None:
        """Bring such packets to their CPU from now on."""
        ...

    async def release(self, spi: int) -> None:
        """Leave the packets of this SPI alone again. An unknown one is no error."""
        ...

    async def refresh(self) -> None:
        """Follow what has changed of routes and devices. Called every few seconds."""
        ...

    async def stop(self) -> None:
        """Undo everything."""
        ...

    def describe(self) -> Mapping[str, str]:
        """What an operator should know: each device, how its packets are steered, or why they are not."""
        ...

    async def survey(self) -> list[Prospect]:
        """How the packets of each network device could be steered. Their traffic is not disturbed."""
        ...
