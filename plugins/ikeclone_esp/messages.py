"""What the daemon and a worker say to each other, one message per packet of their socket pair.

Messages are JSON: keys travel only here, and a worker, which handles what comes from the network, can't make the
daemon run code, as it could with pickle. Octets are hex, dataclasses and enums carry their name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from ikeclone.backend import (
    Acquire,
    ChildSa,
    Encr,
    EspKeys,
    EspSuite,
    Expire,
    Handling,
    Integ,
    Limits,
    Mode,
    Offload,
    Path,
    Policy,
    Remapped,
    TrafficSelector,
    Volume,
)

LARGEST: Final = 1 << 17  # octets of a message; the largest has an SA's selectors


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message: which worker this is, of how many, and on which CPU.

    Its descriptors: TUN queue, counters, and the handover end to read."""

    worker: int
    cpu: int
    workers: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another worker; the descriptor is the handover end to write to it."""

    worker: int


def raw_socket(version: int) -> str:
    """The name of the raw socket for an IP version, in place of the local address that names the others."""
    return f"esp{version}"


@dataclass(frozen=True, slots=True)
class UseSocket:
    """A socket, by descriptor, for ESP in UDP from the address `local`, or for raw ESP (`raw_socket`)."""

    local: str
    raw: bool


@dataclass(frozen=True, slots=True)
class DropSocket:
    """The socket for the address `local` is of no use any more."""

    local: str


@dataclass(frozen=True, slots=True)
class Reserve:
    """An SPI has been allocated: its packets may come before its SA."""

    spi: int


@dataclass(frozen=True, slots=True)
class Route:
    policy: Policy


@dataclass(frozen=True, slots=True)
class Unroute:
    connection: str


@dataclass(frozen=True, slots=True)
class Install:
    """A new SA and the row of its counters."""

    sa: ChildSa
    row: int


@dataclass(frozen=True, slots=True)
class Activate:
    spi: int


@dataclass(frozen=True, slots=True)
class Deactivate:
    spi: int


@dataclass(frozen=True, slots=True)
class Remove:
    spi: int


@dataclass(frozen=True, slots=True)
class Move:
    spi: int
    path: Path
    udp_encapsulation: bool


@dataclass(frozen=True, slots=True)
class Skip:
    """Leave out so many sequence numbers."""

    spi: int
    count: int


@dataclass(frozen=True, slots=True)
class Fallback:
    """Which worker has the connection's fallback SA now; None: nobody."""

    connection: str
    worker: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """What the daemon wants done; it is answered by Done with the same number."""

    number: int
    body: Any


@dataclass(frozen=True, slots=True)
class Done:
    """An empty error means success."""

    number: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has loaded and dropped what it needs; `note` says what it could not do."""

    note: str = ""


_CLASSES: Final[dict[str, Any]] = {
    cls.__name__: cls
    for cls in (
        *(Setup, Neighbour, UseSocket, DropSocket, Reserve, Route, Unroute, Fallback, Request, Done, Ready),
        *(Install, Activate, Deactivate, Remove, Move, Skip),
        *(Acquire, ChildSa, EspKeys, EspSuite, Expire, Handling, Limits, Path),
        *(Policy, Remapped, TrafficSelector, Volume),
    )
}
_VALUES: Final[dict[str, Any]] = {"Mode": Mode, "Encr": Encr, "Integ": Integ, "Offload": Offload,
                                  "octets": bytes.fromhex, "IPv4Address": IPv4Address,
                                  "IPv6Address": IPv6Address}  # fmt: skip


def encode(message: object) -> bytes:
    """A message as octets."""
    return json.dumps(_plain(message)).encode()


def decode(data: bytes) -> Any:
    """The message in these octets. Raises ValueError when there is none."""
    try:
        return _rich(json.loads(data))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no message: {type(error).__name__}") from None


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return [type(value).__name__, *(_plain(getattr(value, field.name)) for field in fields(value))]
    if isinstance(value, bytes):
        return ["octets", value.hex()]
    if isinstance(value, IPv4Address | IPv6Address):
        return [type(value).__name__, str(value)]
    if isinstance(value, Mode | Encr | Integ | Offload):
        return [type(value).__name__, value.value]
    if isinstance(value, tuple):
        return ["tuple", *map(_plain, value)]
    return value


def _rich(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    name, *rest = value
    if name == "tuple":
        return tuple(map(_rich, rest))
    if name in _VALUES:
        return _VALUES[name](*rest)
    return _CLASSES[name](*map(_rich, rest))
