"""What an established IKE SA answers, and its timers."""

from __future__ import annotations

from ikeclone.connection import Timing
from ikeclone.errors import TemporaryFailure
from ikeclone.ike import tickets
from ikeclone.ike.create_child import respond_create
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.informational import DeleteIke, Liveness, respond_informational
from ikeclone.ike.keepalive import keep_alive
from ikeclone.ike.rekey_child import respond_rekey_child
from ikeclone.ike.rekey_ike import RekeyIke, respond_rekey_ike
from ikeclone.ike.sa import Handler, IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType, ProtocolId
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Sa


def settle(sa: IkeSa, now: float) -> None:
    """Answer what an established IKE SA answers, and start its timers."""
    sa.handlers = handlers(sa)
    timing, timers = sa.tunnel.connection.timing, sa.host.timers
    if sa.tunnel.connection.rekey and not sa.tunnel.connection.reauth:
        delay = rekey_after(timing.ike_lifetime, timing, sa.host.fraction())
        timers.set(sa, "rekey", now + delay, lambda at: sa.enqueue(RekeyIke(sa), at))
    timers.set(sa, "expire", now + timing.ike_lifetime, lambda at: _expire(sa, at))
    if timing.dpd_delay:
        timers.set(sa, "liveness", now + timing.dpd_delay, lambda at: _check_liveness(sa, at))
    keep_alive(sa, now)


def handlers(sa: IkeSa) -> dict[ExchangeType, Handler]:
    """The requests that are legal once the peer is authenticated."""
    return {
        ExchangeType.CREATE_CHILD_SA: lambda message, now: _respond_create_child_sa(sa, message, now),
        ExchangeType.IKE_FOLLOWUP_KE: sa.followups.respond,
        ExchangeType.INFORMATIONAL: lambda message, now: respond_informational(sa, message, now),
    }


def rekey_after(lifetime: float, timing: Timing, fraction: float) -> float:
    """Seconds until an SA of this lifetime is rekeyed; `fraction` (0 to 1, random) spreads the times.

    A margin that leaves less than half of the lifetime gives way.
    """
    return max(lifetime - timing.margin * (1 + timing.fuzz * fraction), lifetime * (0.75 - 0.25 * fraction))


def _respond_create_child_sa(sa: IkeSa, message: Message, now: float) -> Payloads:
    sa.adopt(now)
    if sa.state is not State.ESTABLISHED:
        raise TemporaryFailure("this IKE SA is on its way out")
    if message.require(Sa).proposals[0].protocol is ProtocolId.IKE:
        return (*respond_rekey_ike(sa, message, now), *tickets.give_later(sa, message))
    if sa.rekey is not None:
        raise TemporaryFailure("the IKE SA is being rekeyed")
    if (rekey := message.notify(NotifyType.REKEY_SA)) is not None:
        return respond_rekey_child(sa, message, rekey, now)
    return respond_create(sa, message, now)


def _expire(sa: IkeSa, now: float) -> None:
    if sa.state is State.ESTABLISHED:
        sa.finish(DeleteIke(sa, "lifetime ended"), now)


def _check_liveness(sa: IkeSa, now: float) -> None:
    delay = sa.tunnel.connection.timing.dpd_delay
    due = sa.heard + delay
    if due <= now:
        if not sa.requests.outstanding:
            sa.enqueue(Liveness(sa), now)
        due = now + delay
    sa.host.timers.set(sa, "liveness", due, lambda at: _check_liveness(sa, at))
