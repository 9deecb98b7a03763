"""Several connections on one IKE SA: those that have the same ends, and differ in their traffic only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ikeclone.connection import Connection, End
from ikeclone.ike.negotiation import has_first, has_traffic, traffic_of
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.wire.message import Message

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


def may_share(one: Tunnel, other: Tunnel) -> bool:
    """Whether an IKE SA of one is as good for the other; not if its peer may be any of several."""
    single = one.template is None and other.template is None and one.connection.remote.address is not None
    near = one.connection.remote.address == other.connection.remote.address  # most are not: the rest takes longer
    return single and near and not one.connection.remote.pools and _ends(one.connection) == _ends(other.connection)


def _ends(connection: Connection) -> tuple[object, ...]:
    """All that an IKE SA and its authentication depend on."""
    said = connection
    # A Child SA in transport mode has its addresses for good: it does not join an IKE SA that moves (RFC 4555).
    manners = said.encapsulation, said.clones_encap, said.fragmentation, said.ppk, said.ppk_ids, said.mobike
    return _end(said.local), _end(said.remote), said.ike, manners


def _end(end: End) -> End:
    return replace(end, selectors=(), source=None, interface_addresses=())


def usable_by(tunnel: Tunnel) -> IkeSa | None:
    """The IKE SA of another connection that this one may use."""
    others = (other for other in tunnel.endpoint.configured if other is not tunnel and other.usable)
    return next((other.ike for other in others if may_share(other, tunnel)), None)


def under_way(tunnel: Tunnel, now: float) -> Tunnel | None:
    """Another connection that is asking for an IKE SA which this one may use; one that can resume its own asks now."""
    others = [other for other in tunnel.endpoint.configured if other is not tunnel]
    resuming = [] if tunnel.resumption.session else [o for o in others if o.wanted and o.resumption.session]
    for other in resuming:
        if may_share(other, tunnel):
            other.revival.attempt(now)
    return next((other for other in others if other.approach.initiating and may_share(other, tunnel)), None)


def go_on(tunnel: Tunnel, now: float) -> None:
    """The connection has an IKE SA: those that wait for it use it."""
    for waiting in _waiting(tunnel):
        waiting.approach.awaits = None
        waiting.revival.attempt(now)


def disappoint(tunnel: Tunnel, now: float, reason: str) -> None:
    """There is no IKE SA of the connection: those that wait for it try again later."""
    for waiting in _waiting(tunnel):
        waiting.approach.awaits = None
        waiting.revival.failed(f"no IKE SA of {tunnel.connection.name}: {reason}", now)
        waiting.revival.plan(now)


def _waiting(tunnel: Tunnel) -> list[Tunnel]:
    return [other for other in tunnel.endpoint.configured if other.approach.awaits is tunnel]


def users(sa: IkeSa) -> list[Tunnel]:
    """The connections that use an IKE SA."""
    return [tunnel for tunnel in sa.tunnel.endpoint.tunnels.values() if tunnel.ike is sa]


def heir(tunnel: Tunnel) -> IkeSa | None:
    """An established IKE SA that is the connection's or has Child SAs of it."""
    return next((sa for sa in tunnel.endpoint.ike_sas() if sa.state is State.ESTABLISHED and _serves(sa, tunnel)), None)


def _serves(sa: IkeSa, tunnel: Tunnel) -> bool:
    return sa.tunnel is tunnel or any(child.tunnel is tunnel for child in sa.children.values())


def for_traffic(sa: IkeSa, message: Message) -> Tunnel:
    """Whose Child SA a request means, of the connections that the IKE SA's peer may use.

    One for the request's first selectors, if there is one; of these, one that need not have a new part for it, or that
    uses the IKE SA already.
    """
    owner = sa.tunnel
    sharing = (t for t in owner.endpoint.configured if t is not owner and may_share(t, owner))
    candidates = sorted(sharing, key=lambda tunnel: tunnel.ike is not sa)
    fitting = [t for t in (owner, *candidates) if has_traffic(t.connection, sa.path, message)]
    fitting = [t for t in fitting if has_first(t.connection, sa.path, message)] or fitting
    same = (t for t in fitting if t.parts.serving(*traffic_of(t.connection, sa.path, message)))
    return next(same, fitting[0] if fitting else owner)
