"""A conn that was read without mistakes, and how it is oriented: which of its ends is this host."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from ikeclone.config.models import ConnKeywords, EndKeywords, Setup
from ikeclone.config.problems import Place
from ikeclone.connection import Connection
from ikeclone.selectors import IPAddress

_MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class Conn:
    """`conn NAME` at `place`, with what its keywords say."""

    name: str
    place: Place
    keywords: ConnKeywords

    def connection(self, addresses: Set[IPAddress]) -> Connection:
        """The connection of the host that has these addresses.

        Raises ConfigError when neither end is this host, or both are.
        """
        local, remote = self._oriented(addresses)
        said = self.keywords
        return Connection(
            name=self.name,
            local=local.end(),
            remote=remote.end(),
            ike=said.ike,
            esp=said.esp_proposals(),
            clones=said.clones,
            clones_mode=said.clones_mode,
            clones_idle=said.clones_idle,
            clones_encap=said.clones_encap,
            auto=said.auto,
            mode=said.type,
            encapsulation=said.encapsulation,
            fragmentation=said.fragmentation,
            replay_window=said.replay_window,
            pfs=said.pfs,
            rekey=said.rekey,
            timing=said.timing(),
        )

    def _oriented(self, addresses: Set[IPAddress]) -> tuple[EndKeywords, EndKeywords]:
        left, right = self.keywords.left, self.keywords.right
        ours = left.host in addresses, right.host in addresses
        if ours == (True, False):
            return left, right
        if ours == (False, True):
            return right, left
        which = f"left={left.host or '%any'} and right={right.host or '%any'}"
        if all(ours):
            raise self.place.error(f"conn {self.name}: {which} are both addresses of this host")
        has = ", ".join(map(str, sorted(addresses, key=str)[:_MAX_NAMED])) or "none"
        raise self.place.error(f"conn {self.name}: neither of {which} is an address of this host, which has {has}")


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file without mistakes; conns that only serve as `also=` of others are left out."""

    path: Path
    setup: Setup
    connections: tuple[Conn, ...]
