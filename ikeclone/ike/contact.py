"""INITIAL_CONTACT: whether a peer has other IKE SAs with us (RFC 7296 section 2.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ikeclone.connection import Identity
from ikeclone.ike.actions import Kind
from ikeclone.ike.sa import IkeSa, State

if TYPE_CHECKING:
    from ikeclone.ike.proofs import Proofs


def is_initial(sa: IkeSa, proofs: Proofs) -> bool:
    """Whether this is our only IKE SA with the peer that we expect; one that is being authenticated counts too."""
    return not any(_is_with(other, proofs.me, proofs.named, sa) for other in _others(sa))


def _is_with(other: IkeSa, me: Identity, peer: Identity | None, sa: IkeSa) -> bool:
    """A peer that has not said who it is, or that may be several, is known by its address."""
    if other.identities is None or peer is None:
        return other.path.remote == sa.path.remote and other.state is not State.HALF_OPEN
    return other.identities == (me, peer)


def close_former(new: IkeSa, now: float) -> None:
    """The peer has started anew: it has none of the IKE SAs that were there when it asked for this one.

    With `uniqueids=no` several hosts may have its identity: then only those at its address are meant.
    """
    for other in _others(new):
        same = other.identities == new.identities and other.established <= new.created
        if same and (new.host.settings.uniqueids or other.path.remote == new.path.remote):
            other.tunnel.note(Kind.PROGRESS, f"#{other.serial}: the peer has started anew with #{new.serial}")
            other.lose(now, "the peer has started anew")


def _others(sa: IkeSa) -> Iterator[IkeSa]:
    sas = sa.tunnel.endpoint.ike_sas()
    return (other for other in sas if other is not sa and other.state is not State.DEAD)
