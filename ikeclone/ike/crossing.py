"""Both sides ask for an IKE SA at once: the one that is authenticated first is enough, if the other can be left still.

That one of them holds back its IKE_AUTH lets this be so even when both go through the same steps at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.ike import sharing
from ikeclone.ike.actions import Kind
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


def holds_back(sa: IkeSa) -> bool:
    """Whether the peer is about to authenticate an IKE SA that it asked for, and has the higher SPI: it goes first."""
    others = (other for other in sa.tunnel.endpoint.reception.half_open if other.state is State.HALF_OPEN)
    ends = sa.path.local, sa.path.remote
    return any((other.path.local, other.path.remote) == ends and other.spi_i > sa.spi_i for other in others)


def give_way(sa: IkeSa, now: float) -> None:
    """The peer's IKE SA is there: connections that may use it stop asking for one of their own."""
    owner = sa.tunnel
    for tunnel in (owner, *(t for t in owner.endpoint.configured if t is not owner and sharing.may_share(t, owner))):
        if _stop(tunnel):
            tunnel.wanted = True
            tunnel.note(Kind.PROGRESS, f"the peer's IKE SA #{sa.serial} is there first")
            if tunnel is not owner:
                tunnel.join(sa)
            # The peer makes its Child SA now or in a moment.
            tunnel.openings.replace_fallback(now)


def _stop(tunnel: Tunnel) -> bool:
    """Stop asking for an IKE SA that the peer does not hold for established; False if there is none."""
    embryos = [sa for sa in tunnel.sas(State.AUTHENTICATING) if not _authenticates(sa)]
    approach = tunnel.approach
    asked = bool(embryos) or approach.initiation is not None or approach.awaits is not None
    for embryo in embryos:
        embryo.discard()
    approach.forget()
    approach.awaits = None
    return asked


def _authenticates(sa: IkeSa) -> bool:
    return any(request.exchange.type is ExchangeType.IKE_AUTH for request in sa.requests.outstanding.values())
