"""What the IKE SAs of an endpoint share: timers, randomness, outgoing datagrams and actions, counts."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ikeclone.backend import Path
from ikeclone.connection import Redirection
from ikeclone.ike.actions import Action, Datagram, Kind, Report
from ikeclone.ike.leases import Pools
from ikeclone.ike.timers import Timers
from ikeclone.selectors import IPAddress


class Resources(Protocol):
    """The part of a data plane that the state machine asks without waiting."""

    wants_encapsulation: bool

    def cpus(self) -> frozenset[int]: ...

    def allocate_spi(self, cpu: int | None) -> int: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and manners of an endpoint; times in seconds, sizes in octets.

    A datagram of `fragment_size` has 1280 in IPv6 with the marker of port 4500 (RFC 7383 section 2.5.1).
    From `cookie_threshold` half-open IKE SAs on, initiators must return a cookie; beyond `half_open_limit` new ones
    are ignored. `activation_delay` is how long a new clone's responder waits for a sign that its answer arrived.
    `regular_limit` bounds the SAs without SA_RESOURCE_INFO that a peer may make for a connection; `window` is how many
    requests a peer may send at a time once it is authenticated. With `uniqueids` a peer that comes back takes the place
    that it had; `instance_limit` bounds the peers of a connection that any number may use. `redirection` is where all
    peers are sent.
    """

    cookie_threshold: int = 64
    half_open_limit: int = 1024
    half_open_lifetime: float = 30.0
    fragment_size: int = 1228
    activation_delay: float = 1.0
    retry_delay: float = 5.0
    retry_delay_limit: float = 300.0
    clone_backoff: float = 60.0
    clone_backoff_limit: float = 3600.0
    regular_limit: int = 64
    window: int = 32
    uniqueids: bool = True
    instance_limit: int = 4096
    key_log: bool = False
    redirection: Redirection = field(default_factory=Redirection)


class Host:
    """One per endpoint. `actions` and `datagrams` fill up until the daemon takes them."""

    def __init__(
        self,
        resources: Resources,
        random: Callable[[int], bytes],
        wall: Callable[[], datetime],
        settings: Settings,
    ) -> None:
        self.resources = resources
        self.random = random
        self.wall = wall
        self.settings = settings
        self.timers = Timers()
        self.pools = Pools()
        self.actions: deque[Action] = deque()
        self.datagrams: deque[Datagram] = deque()
        self.counters: Counter[str] = Counter()
        # This host's addresses, those first that packets to elsewhere would have, and those for certain peers.
        self.addresses: tuple[IPAddress, ...] = ()
        self.sources: dict[IPAddress, IPAddress] = {}
        self._serial = 0

    def emit(self, action: Action) -> None:
        """Ask the daemon for something."""
        self.actions.append(action)

    def report(self, connection: str, kind: Kind, text: str, child: int | None = None) -> None:
        """Tell what happened to a connection."""
        self.emit(Report(connection, kind, text, child))

    def send(self, datagrams: tuple[bytes, ...], path: Path) -> None:
        """Send a message's datagrams after the actions that are waiting now."""
        self.datagrams.extend(Datagram(data, path) for data in datagrams)

    def count(self, reason: str) -> None:
        """Count an input that changed nothing."""
        self.counters[reason] += 1

    def serial(self) -> int:
        """The next number of an IKE or Child SA, as `#2` in status lines."""
        self._serial += 1
        return self._serial

    @property
    def newest(self) -> int:
        """The number that an IKE or Child SA was given last."""
        return self._serial

    def fraction(self) -> float:
        """A random number from 0 to below 1, to spread timers."""
        return int.from_bytes(self.random(4), "big") / 2**32

    def address_for(self, remote: IPAddress) -> IPAddress | None:
        """The address that we have for packets to this one."""
        if (source := self.sources.get(remote)) in self.addresses:
            return source
        return next((address for address in self.addresses if address.version == remote.version), None)

    def spi(self) -> bytes:
        """A random IKE SPI, never zero."""
        while not any(spi := self.random(8)):
            continue
        return spi
