"""INITIAL_CONTACT: whether a peer has other IKE SAs with us (RFC 7296 section 2.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ikeclone.connection import Identity
from ikeclone.ike.actions import Kind
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State

if TYPE_CHECKING:
    from ikeclone.ike.proofs import Proofs


class Contacts:
    """The IKE SAs of an endpoint by the identities at their ends, ours and the peer's."""

    def __init__(self) -> None:
        self._sas: dict[tuple[Identity, Identity] | None, set[IkeSa]] = {}

    def add(self, sa: IkeSa) -> None:
        """The peer of this IKE SA has proved who it is."""
        self._sas.setdefault(sa.identities, set()).add(sa)

    def remove(self, sa: IkeSa) -> None:
        """This IKE SA is gone; it need not have been authenticated."""
        same = self._sas.get(sa.identities, set())
        same.discard(sa)
        if not same:
            self._sas.pop(sa.identities, None)

    def like(self, sa: IkeSa) -> tuple[IkeSa, ...]:
        """The others with the same ends, the oldest first."""
        return tuple(sorted(self._sas.get(sa.identities, set()) - {sa}, key=lambda other: other.serial))


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
    for other in new.tunnel.endpoint.contacts.like(new):
        former = other.state is not State.DEAD and other.precedes(new)
        if former and (new.host.settings.uniqueids or other.path.remote == new.path.remote):
            other.tunnel.note(Kind.PROGRESS, f"#{other.serial}: the peer has started anew with #{new.serial}")
            other.lose(now, "the peer has started anew")


def _others(sa: IkeSa) -> Iterator[IkeSa]:
    sas = sa.tunnel.endpoint.ike_sas()
    return (other for other in sas if other is not sa and other.state is not State.DEAD)
