"""What the state machine asks of the daemon, in order: each to be done before the datagrams that follow are sent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ikeclone.backend import ChildSa, Path, Policy
from ikeclone.crypto.keys import IkeKeys
from ikeclone.crypto.suite import IkeSuite
from ikeclone.pki.standing import Order


@dataclass(frozen=True, slots=True)
class Datagram:
    """Octets to send; `path.local_port` 4500 wants the non-ESP marker before IKE (RFC 3948 section 2.2)."""

    data: bytes
    path: Path


@dataclass(frozen=True, slots=True)
class InstallChild:
    sa: ChildSa


@dataclass(frozen=True, slots=True)
class ActivateChild:
    """Send on this Child SA from now on."""

    inbound_spi: int


@dataclass(frozen=True, slots=True)
class DeactivateChild:
    """Send on this Child SA no more, but receive on it."""

    inbound_spi: int


@dataclass(frozen=True, slots=True)
class RemoveChild:
    """Take the Child SA out, or free its reserved SPI."""

    inbound_spi: int


@dataclass(frozen=True, slots=True)
class MoveChild:
    """An end has another address or port; a NAT between them may have come or gone."""

    inbound_spi: int
    path: Path
    udp_encapsulation: bool


@dataclass(frozen=True, slots=True)
class SkipNumbers:
    """Leave out so many of the sequence numbers that this Child SA sends with."""

    inbound_spi: int
    count: int


@dataclass(frozen=True, slots=True)
class Route:
    policy: Policy


@dataclass(frozen=True, slots=True)
class Unroute:
    connection: str


@dataclass(frozen=True, slots=True)
class IkeKeyed:
    """Keys of a new IKE SA, for the key log; made only when the key log is on."""

    initiator_spi: bytes
    responder_spi: bytes
    suite: IkeSuite
    keys: IkeKeys


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch what a certificate's standing depends on; what comes of it goes to `Endpoint.fetched`."""

    order: Order


class Kind(Enum):
    """What a Report is about."""

    PROGRESS = "progress"
    IKE_UP = "ike-up"
    IKE_REKEYED = "ike-rekeyed"
    IKE_DOWN = "ike-down"
    CHILD_UP = "child-up"
    CHILD_REKEYED = "child-rekeyed"
    CHILD_DOWN = "child-down"
    MOVED = "moved"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """News of a connection, for the log and for whoever waits for it. `child` is an inbound SPI."""

    connection: str
    kind: Kind
    text: str
    child: int | None = None


Action = (
    InstallChild
    | ActivateChild
    | DeactivateChild
    | RemoveChild
    | MoveChild
    | SkipNumbers
    | Route
    | Unroute
    | IkeKeyed
    | Fetch
    | Report
)
