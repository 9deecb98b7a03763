"""What this data plane has not, and what it says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ikeclone.backend import BackendError, ChildSa, Mode, Policy
from ikeclone_esp.pool import Pool


def check(wanted: Policy | ChildSa) -> None:
    """Raise BackendError for what this data plane does not have."""
    if wanted.mode is not Mode.TUNNEL:
        raise BackendError("the esp backend has no transport mode: use type=tunnel or another backend")
    if demands := wanted.handling.demands():
        raise BackendError(f"the esp backend has no {', '.join(demands)}: leave it out or use the xfrm backend")


def describe(pool: Pool) -> Mapping[str, str]:
    """What an operator should know of it."""
    drops = Counter[str]()
    for index in range(len(pool)):
        drops.update(pool.table.row(index).read().drops)
    return {
        "device": pool.tun.name,
        "workers": ", ".join(f"CPU {cpu}: pid {pool[i].pid}" for i, cpu in enumerate(pool.cpus)),
        "steering": pool.tun.steering,
        "offloads": "TSO on the TUN, UDP_SEGMENT and UDP_GRO on the network",
        "raw ESP": pool.raw,
        "missing": "transport mode",
        "drops without an SA": ", ".join(f"{reason} {n}" for reason, n in drops.items()) or "none",
    }
