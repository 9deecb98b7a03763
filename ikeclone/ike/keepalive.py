"""NAT keepalives, sent by the side that is behind the NAT (RFC 3948 section 4)."""

from __future__ import annotations

from ikeclone.ike.sa import IkeSa

KEEPALIVE = b"\xff"


def keep_alive(sa: IkeSa, now: float) -> None:
    """Begin or go on with keepalives where they are of use; otherwise end them."""
    delay = sa.tunnel.connection.timing.keepalive
    if sa.abilities.nat.local and delay:
        sa.host.timers.set(sa, "keepalive", now + delay, lambda at: _send(sa, at))
    else:
        sa.host.timers.cancel(sa, "keepalive")


def _send(sa: IkeSa, now: float) -> None:
    sa.host.send((KEEPALIVE,), sa.path)
    keep_alive(sa, now)
