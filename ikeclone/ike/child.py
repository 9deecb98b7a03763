"""A Child SA as the state machine knows it. Its keys went to the data plane and are not kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from ikeclone.backend import EspSuite, Limits, Mode, Path
from ikeclone.ike.narrowing import Selectors, narrowed

if TYPE_CHECKING:
    from ikeclone.connection import Connection
    from ikeclone.ike.tunnel import Tunnel


class ChildState(Enum):
    """INSTALLED is in use; REKEYING awaits our successor; REKEYED has one and awaits its deletion."""

    INSTALLED = "installed"
    REKEYING = "rekeying"
    REKEYED = "rekeyed"
    DELETING = "deleting"
    REMOVED = "removed"


TRANSITIONS = {
    ChildState.INSTALLED: {ChildState.REKEYING, ChildState.REKEYED, ChildState.DELETING, ChildState.REMOVED},
    ChildState.REKEYING: {ChildState.INSTALLED, ChildState.REKEYED, ChildState.DELETING, ChildState.REMOVED},
    ChildState.REKEYED: {ChildState.DELETING, ChildState.REMOVED},
    ChildState.DELETING: {ChildState.REMOVED},
    ChildState.REMOVED: set(),
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two peers agreed on for a Child SA, without its keys. `per_resource`: both sent SA_RESOURCE_INFO."""

    inbound_spi: int
    outbound_spi: int
    suite: EspSuite
    local: Selectors
    remote: Selectors
    mode: Mode
    per_resource: bool


@dataclass(slots=True, eq=False)
class Child:
    """A Child SA pair of a tunnel.

    `cpu` is the local CPU it is bound to, None for the fallback; `instance` its place in NAME-1.
    """

    serial: int
    connection: str
    instance: int
    cpu: int | None
    agreement: Agreement
    path: Path
    created: float
    opened_by_us: bool
    tunnel: Tunnel
    state: ChildState = ChildState.INSTALLED
    active: bool = False
    limits: Limits = field(default_factory=Limits)
    # Sequence numbers that were left out (RFC 6311).
    skipped: int = 0

    @property
    def inbound_spi(self) -> int:
        """The SPI that we receive on; it names the pair."""
        return self.agreement.inbound_spi

    @property
    def outbound_spi(self) -> int:
        """The SPI that the peer receives on."""
        return self.agreement.outbound_spi

    @property
    def name(self) -> str:
        """The instance's name: NAME-0 for a fallback that may have clones, NAME for a regular SA."""
        return f"{self.connection}-{self.instance}" if self.agreement.per_resource else self.connection

    @property
    def terms(self) -> Connection:
        """The connection for the same traffic: that of a successor or a clone (RFC 7296 section 2.9.2, RFC 9611).

        An end that is only a host may have got another address since.
        """
        said, agreed = self.tunnel.connection, self.agreement
        local = agreed.local if said.local.selectors else ()
        return narrowed(said, local, agreed.remote if said.remote.selectors else ())

    @property
    def lasts(self) -> bool:
        """Whether it is in use and neither replaced nor about to go."""
        return self.state in (ChildState.INSTALLED, ChildState.REKEYING)

    def give_way(self) -> None:
        """Only receive until it is deleted, if that is not so already: another SA takes its place."""
        if self.lasts:
            self.enter(ChildState.REKEYED)

    def enter(self, state: ChildState) -> None:
        """Change the state; a change that the table does not know is a bug."""
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"Child SA {self.name}: {self.state.name} -> {state.name}")
        self.state = state
