"""The contract between the daemon and what a connection wants done when its traffic takes the tunnel, and no more.

An updown plugin imports this module and nothing else of ours. What it runs takes nothing from the tunnel, and the
tunnel does not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from ikeclone.backend import IPAddress, Mode, Policy, TrafficSelector

__all__ = ["GROUP", "Change", "Given", "IPAddress", "Mode", "Policy", "TrafficSelector", "Updown", "Verb"]

GROUP: Final = "ikeclone.updown"


class Verb(Enum):
    """What happens to a connection: its traffic is routed into the tunnel, and there is a Child SA for it."""

    ROUTE = "route"
    UP = "up"
    DOWN = "down"
    UNROUTE = "unroute"


@dataclass(frozen=True, slots=True)
class Given:
    """What configuration payloads gave (RFC 7296 section 2.19) beside our addresses, which are in the policy.

    To us, if the connection `asks`, name servers and the domains that they know of; to the peer, if it `serves`,
    addresses inside the tunnel.
    """

    asks: bool = False
    serves: bool = False
    dns: tuple[IPAddress, ...] = ()
    domains: tuple[str, ...] = ()
    leased: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A connection's traffic, `policy`, is other than before. `command` is what leftupdown= names, in words.

    `connection` is what ipsec.conf calls it, also for one of its instances, which `policy` names. `roamed`: it is the
    addresses of the hosts that are others (RFC 4555), DOWN at the old ones and UP at the new.
    """

    verb: Verb
    command: tuple[str, ...]
    connection: str
    policy: Policy
    local_id: str
    remote_id: str
    data_plane: str
    roamed: bool = False
    given: Given = Given()


class Updown(Protocol):
    """A way to do it."""

    async def run(self, change: Change) -> None:
        """Do what is wanted, in bounded time. A failure is logged, never raised."""
        ...
