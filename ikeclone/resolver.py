"""The contract between the daemon and what looks names up for this host.

A resolver plugin imports this module and nothing else of ours. Its entry point has the name of the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from ikeclone.backend import IPAddress

__all__ = ["GROUP", "IPAddress", "Names", "Resolver", "Way"]

GROUP: Final = "ikeclone.resolver"


class Way(Enum):
    """What is told of the name servers that peers give us (`dns-resolver=`): nothing, systemd-resolved, resolvconf."""

    NO = "no"
    SYSTEMD = "systemd"
    RESOLVCONF = "resolvconf"


@dataclass(frozen=True, slots=True)
class Names:
    """Name servers behind a tunnel, for some domains or, if none are named, for all.

    We have the `address` inside the tunnel; `device` is the connection's own, if it has one.
    """

    connection: str
    servers: tuple[IPAddress, ...]
    domains: tuple[str, ...]
    address: IPAddress
    device: str | None = None


class Resolver(Protocol):
    """A way to have the host use them."""

    async def use(self, names: tuple[Names, ...]) -> None:
        """Have the host use these servers, and no longer others that it was told of, by an earlier daemon either.

        In bounded time. A failure is logged, never raised.
        """
        ...
