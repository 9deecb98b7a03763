"""A conn that was read without mistakes, and how it is oriented: which of its ends is this host."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from ikeclone.backend import Volume
from ikeclone.config.models import ConnKeywords, Setup
from ikeclone.config.papers import Papers
from ikeclone.config.problems import Place
from ikeclone.connection import Auto, Connection, End
from ikeclone.pki.certificate import Certificate
from ikeclone.pki.standing import Policy
from ikeclone.selectors import IPAddress

_MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class Conn:
    """`conn NAME` at `place`, with what its keywords say and the files that they name hold."""

    name: str
    place: Place = field(compare=False)
    keywords: ConnKeywords
    left: Papers
    right: Papers

    @property
    def ends(self) -> tuple[End, End]:
        """Left and right."""
        said = self.keywords
        left = self.left.end(said.left, said.auth(said.left))
        return left, self.right.end(said.right, said.auth(said.right))

    def papers(self, side: str) -> Papers:
        """Those of "left" or "right"."""
        return self.left if side == "left" else self.right

    def connection(self, addresses: Set[IPAddress]) -> Connection:
        """The connection of the host that has these addresses.

        Raises ConfigError when neither end is this host, or both are.
        """
        local, remote = self._oriented(addresses)
        if remote.asks and not remote.pools:
            raise self.place.error(f"conn {self.name}: the peer gets its address from here: name an addresspool for it")
        said = self.keywords
        return Connection(
            name=self.name,
            local=local,
            remote=remote,
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
            ppk=said.ppk,
            ppk_ids=said.ppk_ids,
            rekey=said.rekey,
            reauth=said.reauth,
            mobike=said.mobike,
            childless=said.childless,
            redirection=said.redirection(),
            resumption=said.session_resumption,
            timing=said.timing(),
            volume=Volume(said.ipsec_max_bytes, said.ipsec_max_packets),
            handling=said.handling(local.interface_addresses),
            dns=said.modecfgdns,
            domains=said.modecfgdomains,
            ignore_peer_dns=said.ignore_peer_dns,
        )

    def _oriented(self, addresses: Set[IPAddress]) -> tuple[End, End]:
        left, right = self.ends
        said = self.keywords.left, self.keywords.right
        ours = tuple(end.is_default or end.address in addresses for end in said)
        if ours == (True, False):
            return left, right
        if ours == (False, True):
            return right, left
        which = " and ".join(f"{side}={end.host or '%any'}" for side, end in zip(("left", "right"), said, strict=True))
        if all(ours):
            raise self.place.error(f"conn {self.name}: {which} are both addresses of this host")
        has = ", ".join(map(str, sorted(addresses, key=str)[:_MAX_NAMED])) or "none"
        raise self.place.error(f"conn {self.name}: neither of {which} is an address of this host, which has {has}")


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file without mistakes; conns that only serve as `also=` of others are left out.

    `authorities` are trusted, but for what they revoked, as far as `revocation` finds out.
    """

    path: Path
    setup: Setup
    connections: tuple[Conn, ...]
    authorities: tuple[Certificate, ...] = ()
    revocation: Policy = field(default_factory=Policy)

    @property
    def active(self) -> dict[str, Conn]:
        """The connections by name, but for those with auto=ignore."""
        return {conn.name: conn for conn in self.connections if conn.keywords.auto is not Auto.IGNORE}
