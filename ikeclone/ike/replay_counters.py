"""Sequence numbers of ESP after a peer that is a cluster of gateways has failed over to another of them (RFC 6311).

The new one does not know how far our packets' sequence numbers have come: it takes no risk of accepting one twice, and
asks us to go on far enough ahead of where we are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.ike.actions import Kind
from ikeclone.numbers import NotifyType
from ikeclone.wire.message import Message

if TYPE_CHECKING:
    from ikeclone.ike.sa import IkeSa

# Octets of the number: the larger one is for Child SAs with extended sequence numbers (RFC 6311 section 6.4).
_SIZES = (4, 8)


def synchronise(sa: IkeSa, request: Message, now: float) -> None:
    """Leave out as many sequence numbers as the peer asks for, on every Child SA of the IKE SA (section 5.2)."""
    notify = request.notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC)
    if notify is None:
        return
    if not sa.ids.counters_agreed or len(notify.data) not in _SIZES:
        sa.host.count("unexpected replay counter synchronisation")
        return
    count = int.from_bytes(notify.data, "big")
    for child in sa.children.values():
        child.tunnel.children.lifetimes.skip(child, count, now)
    sa.tunnel.note(Kind.PROGRESS, f"#{sa.serial}: the peer has failed over, {count} sequence numbers of ESP left out")
