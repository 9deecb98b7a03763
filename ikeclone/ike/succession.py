"""Which IKE SA a connection uses, when another one comes or the one there is ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.connection import Auto, Identity
from ikeclone.ike import crossing, sharing
from ikeclone.ike.actions import Kind
from ikeclone.ike.contact import close_former
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


class Succession:
    """The IKE SAs of one connection, one after the other."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def established(self, sa: IkeSa, now: float, peer: Identity, *, initial_contact: bool) -> None:
        """The peer is authenticated. Of two IKE SAs with it, one goes."""
        tunnel = self._tunnel
        former, tunnel.ike, tunnel.peer = tunnel.ike, sa, peer
        sa.identities = tunnel.proofs(sa.path).me, peer
        tunnel.endpoint.authenticated(sa)
        tunnel.wanted = tunnel.wanted or sa.initiator or tunnel.connection.auto is Auto.KEEP
        tunnel.revival.done()
        tunnel.settle(sa, now)
        tunnel.reauth.established(sa, now)
        tunnel.note(Kind.IKE_UP, f"#{sa.serial}: IKE SA established with {peer} at {sa.path.remote}, {sa.suite}")
        if initial_contact:
            close_former(sa, now)
        if former is not None and former.state is State.ESTABLISHED:
            self._take_over(former, sa, now)
        if not sa.initiator:
            crossing.give_way(sa, now)
        sharing.go_on(tunnel, now)

    def _take_over(self, former: IkeSa, new: IkeSa, now: float) -> None:
        """An older IKE SA gives way; of two that cross, the one with the lower SPI does."""
        tunnel = self._tunnel
        if former.tunnel is not tunnel and tunnel.leaving.in_time(former, now):
            return
        if not former.precedes(new):
            redundant, tunnel.ike = sorted((former, new), key=lambda sa: sa.spi_i)
            tunnel.reauth.settle_for(tunnel.ike, redundant, now)
            return
        tunnel.note(Kind.PROGRESS, f"#{former.serial}: replaced by #{new.serial}")
        if not new.initiator:
            tunnel.reauth.make_room(former, new, now)

    def superseded(self, old: IkeSa, new: IkeSa, now: float) -> None:
        """The IKE SA was rekeyed."""
        for tunnel in {self._tunnel, *sharing.users(old)}:
            if tunnel.ike is old:
                tunnel.ike = new
            tunnel.children.senders.carried_over(new)
        self._tunnel.resumption.rekeyed(new, now)
        self._tunnel.note(Kind.IKE_REKEYED, f"#{new.serial}: IKE SA rekeyed, replaces #{old.serial}")

    def closed(self, sa: IkeSa, now: float, reason: str, *, peer_dead: bool) -> None:
        """An IKE SA has ended, whichever it was."""
        for tunnel in (self._tunnel, *(user for user in sharing.users(sa) if user is not self._tunnel)):
            tunnel.succession.lost(sa, now, reason, peer_dead=peer_dead)
            tunnel.end_if_unused()

    def lost(self, sa: IkeSa, now: float, reason: str, *, peer_dead: bool) -> None:
        """An IKE SA has ended that this connection used, had used or was asking for."""
        tunnel = self._tunnel
        if tunnel.ike is sa:
            # The peer may end the one of two simultaneous IKE SAs that we would have kept.
            tunnel.ike = sharing.heir(tunnel)
            tunnel.note(Kind.IKE_DOWN, f"#{sa.serial}: IKE SA ended: {reason}")
            if not peer_dead:
                tunnel.resumption.forget()
        elif sa.established < 0 and sa.initiator and tunnel.usable:
            tunnel.reauth.failed(now, reason, unanswered=peer_dead)
            return
        elif tunnel.ike is None and sa.established < 0 and sa.initiator:
            tunnel.revival.failed(reason, now)
            sharing.disappoint(tunnel, now, reason)
        else:
            if peer_dead:
                tunnel.note(Kind.PROGRESS, f"#{sa.serial}: former IKE SA given up: {reason}")
            return
        tunnel.wanted = tunnel.wanted and (peer_dead or tunnel.connection.stays_up)
        if tunnel.ike is None and tunnel.approach.initiation is None:
            tunnel.revival.plan(now)
