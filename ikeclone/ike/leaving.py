"""Leaving an IKE SA to the other connections that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.ike import sharing
from ikeclone.ike.child import Child
from ikeclone.ike.informational import DeleteChildren
from ikeclone.ike.reauth import PATIENCE
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


class Leaving:
    """The Child SAs that a connection still has on an IKE SA which it leaves to others."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel, self._timers = tunnel, tunnel.host.timers
        self._left: list[Child] = []

    def at_once(self, sa: IkeSa, now: float) -> bool:
        """Leave an IKE SA, and delete the Child SAs there; False if nobody else needs it."""
        others = self._others(sa)
        if not others:
            return False
        _delete(sa, self._children(sa), now)
        if sa.tunnel is self._tunnel:
            sa.pass_to(others[0])
            sa.tunnel.reauth.inherit(sa, now)
        return True

    def in_time(self, sa: IkeSa, now: float) -> bool:
        """Leave another connection's IKE SA for a new one; False if nobody else needs it.

        The peer makes the Child SAs anew there, or else we do. Those that there are send until then.
        """
        if not self._others(sa):
            return False
        for child in self._children(sa):
            child.give_way()
            self._left.append(child)
        self._look_again(now + PATIENCE, now)
        return True

    def finish(self, now: float) -> None:
        """Delete what is left."""
        self._timers.cancel(self._tunnel, "leave")
        left, self._left = self._left, []
        for sa in self._tunnel.endpoint.ike_sas():
            if sa.state is State.ESTABLISHED:
                _delete(sa, [child for child in left if child.inbound_spi in sa.children], now)

    def _look_again(self, until: float, now: float) -> None:
        due = min(until, now + self._tunnel.host.settings.activation_delay)
        self._timers.set(self._tunnel, "leave", due, lambda at: self._look(until, at))

    def _look(self, until: float, now: float) -> None:
        """See whether another Child SA sends in the place of each: the peer is known to have that."""
        waiting = any(child.active and child.cpu is None for child in self._left)
        if waiting and now < until:
            self._look_again(until, now)
        else:
            self.finish(now)

    def _others(self, sa: IkeSa) -> list[Tunnel]:
        """The other connections that need an IKE SA."""
        leaving = self._tunnel.parts.under(self._tunnel)
        return [o.parts.whole for o in sharing.users(sa) if o not in leaving and (o.wanted or o.clones.children)]

    def _children(self, sa: IkeSa) -> list[Child]:
        """What the connection has there that is not about to go."""
        leaving = self._tunnel.parts.under(self._tunnel)
        return [child for child in sa.children.values() if child.tunnel in leaving and child.lasts]


def _delete(sa: IkeSa, children: list[Child], now: float) -> None:
    """From now on they count no more, though the request may have to wait for its turn."""
    for child in children:
        child.give_way()
    if children:
        sa.enqueue(DeleteChildren(sa, children), now)
