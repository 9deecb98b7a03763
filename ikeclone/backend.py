"""The contract between the daemon and a data plane.

A backend imports this module and nothing else of ikeclone's. It is told which traffic belongs to a connection
(`route`), gets Child SA pairs to use (`install`), and reports what the daemon must know (`event`): packets that
want an SA, SAs that are used up or lost, peers whose address changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path as FilePath
from socket import socket
from typing import Final, Protocol

from ikeclone.errors import BackendError
from ikeclone.handling import Handling, Interface, Mark, Offload
from ikeclone.limits import SEQUENCE_NUMBERS, Limits, Volume
from ikeclone.numbers import Encr, Integ
from ikeclone.selectors import IPAddress, IPNetwork, TrafficSelector

__all__ = [
    "SEQUENCE_NUMBERS", "Acquire", "Backend", "BackendError", "ChildSa", "Counters", "Encr", "EspKeys", "EspSuite",
    "Event", "Expire", "Handling", "IPAddress", "IPNetwork", "Integ", "Interface", "Limits", "Lost", "Mark", "Mode",
    "Offload", "Path", "Policy", "Remapped", "TrafficSelector", "Volume", "online_cpus",
]  # fmt: skip

_ONLINE: Final = FilePath("/sys/devices/system/cpu/online")


def online_cpus() -> list[int]:
    """The CPUs that run, from the kernel's list such as 0-3,8."""
    cpus: list[int] = []
    for part in _ONLINE.read_text().strip().split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


class Mode(Enum):
    """How a Child SA wraps packets (RFC 4301 section 4.1)."""

    TUNNEL = "tunnel"
    TRANSPORT = "transport"


@dataclass(frozen=True, slots=True)
class Path:
    """Where IKE or ESP packets go: a pair of addresses with their UDP ports."""

    local: IPAddress
    remote: IPAddress
    local_port: int = 500
    remote_port: int = 500

    @property
    def reverse(self) -> Path:
        """The same as the other end sees it."""
        return Path(self.remote, self.local, self.remote_port, self.local_port)

    def __str__(self) -> str:
        return f"{self.local}[{self.local_port}]...{self.remote}[{self.remote_port}]"


@dataclass(frozen=True, slots=True)
class EspSuite:
    """The algorithms of a Child SA: cipher, its key length in bits, integrity (NONE with an AEAD), and 64-bit
    sequence numbers or not.
    """

    encryption: Encr
    key_bits: int
    integrity: Integ
    esn: bool = False

    def __str__(self) -> str:
        integrity = "" if self.integrity == Integ.NONE else f"-{self.integrity.name}"
        return f"{self.encryption.name}_{self.key_bits}{integrity}" + ("-ESN" if self.esn else "")


@dataclass(frozen=True, slots=True)
class EspKeys:
    """Keys of one direction as RFC 7296 section 2.17 cuts them; an AEAD's salt ends the encryption key.

    They are never printed.
    """

    encryption: bytes = field(repr=False)
    integrity: bytes = field(repr=False, default=b"")


@dataclass(frozen=True, slots=True)
class Policy:
    """The traffic of one connection, routed into the data plane from when the connection is up or on demand.

    `source` is the address that this host's own packets into the tunnel carry, or None to leave it to the system.
    `addresses` are this host's inside the tunnel, given by the peer: it has them for as long as it has the policy, and
    its packets carry them. `whole` is the connection that this one is a part of: where the traffic of several of its
    Child SAs overlaps, it is the peer that chooses one, and each has to be taken (RFC 4301 section 5.2).
    """

    connection: str
    local: tuple[TrafficSelector, ...]
    remote: tuple[TrafficSelector, ...]
    path: Path
    mode: Mode = Mode.TUNNEL
    source: IPAddress | None = None
    handling: Handling = field(default_factory=Handling)
    addresses: tuple[IPAddress, ...] = ()
    whole: str | None = None

    def source_for(self, version: int) -> IPAddress | None:
        """What this host's own packets of a version of IP carry, None to leave it to the system."""
        return next((each for each in (*self.addresses, self.source) if each and each.version == version), None)


@dataclass(frozen=True, slots=True)
class ChildSa:
    """A pair of ESP SAs, one a direction, known by its inbound SPI.

    `cpu` None makes it the connection's fallback: it carries the packets of every CPU that has no clone, each of which
    raises an Acquire if `clones` are to be had. The outbound SA is used from `activate` on. `replaces` is the inbound
    SPI of the SA that this one rekeys. When either direction reaches the soft and then the hard one of its `limits`,
    which the sequence numbers are among, the data plane raises an Expire. `whole` is as a policy's.
    """

    connection: str
    cpu: int | None
    inbound_spi: int
    outbound_spi: int
    suite: EspSuite
    inbound_keys: EspKeys
    outbound_keys: EspKeys
    local: tuple[TrafficSelector, ...]
    remote: tuple[TrafficSelector, ...]
    path: Path
    udp_encapsulation: bool
    mode: Mode = Mode.TUNNEL
    replay_window: int = 128
    replaces: int | None = None
    clones: bool = True
    handling: Handling = field(default_factory=Handling)
    limits: Limits = field(default_factory=Limits)
    whole: str | None = None


@dataclass(slots=True)
class Counters:
    """What a Child SA carried, inner packets and octets; drops are counted by reason.

    The last uses are times of the monotonic clock in seconds, 0 for never. For a fallback, `out_by_cpu` has the packets
    that it carried for CPUs without a clone, by CPU, where the data plane can tell.
    """

    in_packets: int = 0
    in_bytes: int = 0
    out_packets: int = 0
    out_bytes: int = 0
    in_last: float = 0.0
    out_last: float = 0.0
    drops: dict[str, int] = field(default_factory=dict)
    out_by_cpu: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Acquire:
    """A packet left on `cpu` (None: not known) and found no SA of its own: none at all, or only the fallback.

    `packet` has the packet's own selectors, ours and the peer's, where they are known.
    """

    connection: str
    cpu: int | None
    packet: tuple[TrafficSelector, TrafficSelector] | None = None


@dataclass(frozen=True, slots=True)
class Expire:
    """The SA with this inbound SPI has reached the soft or the hard one of its limits; each is told once."""

    inbound_spi: int
    hard: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """These SAs are gone with what held them (a dead worker, a flushed kernel) and must be made anew."""

    inbound_spis: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Remapped:
    """Authenticated ESP of this SA came from a new address or port."""

    inbound_spi: int
    path: Path


Event = Acquire | Expire | Lost | Remapped


class Backend(Protocol):
    """A data plane. Every method raises BackendError, with what to do about it, when the system refuses."""

    name: str
    # ESP without UDP around it is slow or impossible here: ask the peer for encapsulation (RFC 7296 section 2.23).
    wants_encapsulation: bool
    # Received packets find the CPU of their SA without help (ikeclone.steering).
    steers_itself: bool

    def cpus(self) -> frozenset[int]:
        """The CPUs that can have a clone, those online now."""
        ...

    def allocate_spi(self, cpu: int | None) -> int:
        """A fresh inbound SPI for an SA of that CPU, above 255. It is reserved until `remove` or `install`."""
        ...

    async def probe(self) -> str:
        """Find out whether this works here, changing nothing for good; what it can do, in words."""
        ...

    async def start(self) -> None: ...

    def share(self, sock: socket) -> None:
        """Take note of a UDP socket of the daemon's, of port 500 or 4500 on one address: IKE on it stays unprotected.

        That of port 4500 leaves ESP to this data plane: it is bound, with SO_REUSEPORT, and is the first on its
        address. IKE (four zero octets first) and keepalives (one octet) stay with it.
        """
        ...

    async def unshare(self, address: IPAddress) -> None:
        """The daemon's sockets on this address are about to be closed; no SA has it any more."""
        ...

    async def stop(self) -> None:
        """Undo everything: nothing of ours stays in the system."""
        ...

    async def route(self, policy: Policy) -> None:
        """Take this traffic; a packet without an SA raises an Acquire. Replaces the connection's former policy."""
        ...

    async def unroute(self, connection: str) -> None: ...

    async def install(self, sa: ChildSa) -> None:
        """Receive on this SA from now on."""
        ...

    async def activate(self, inbound_spi: int) -> None:
        """Send on this SA from now on, in place of an older one of the same connection and CPU."""
        ...

    async def deactivate(self, inbound_spi: int) -> None:
        """Send on this SA no more, but receive on it; what it sent for its CPU, the fallback sends."""
        ...

    async def remove(self, inbound_spi: int) -> None:
        """Forget the SA, or the reservation of its SPI. Unknown SPIs are no error."""
        ...

    async def move(self, inbound_spi: int, path: Path, udp_encapsulation: bool) -> None:
        """Use these addresses and ports from now on, with UDP around ESP or without."""
        ...

    async def skip(self, inbound_spi: int, count: int) -> None:
        """Leave out so many sequence numbers of those that this SA sends with, and use none twice.

        What it sends meanwhile is among them: it has to be far fewer.
        """
        ...

    async def counters(self) -> Mapping[int, Counters]:
        """Counters of every installed SA, by inbound SPI."""
        ...

    async def event(self) -> Event:
        """Wait for the next event."""
        ...

    def describe(self) -> Mapping[str, str]:
        """What an operator should know of this data plane: device, workers, offloads, what is missing."""
        ...
