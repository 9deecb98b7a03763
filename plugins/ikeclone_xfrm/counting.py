"""What states carried, as the contract counts it."""

from __future__ import annotations

from typing import Any

from ikeclone.backend import ChildSa, Counters


def counters_of(state: Any, counters: Counters, *, outbound: bool, boot: float) -> None:
    """Add a state's counters to its pair's. `boot` is the wall clock's time when the monotonic clock was 0."""
    lifetime = state["curlft"]
    used = state.get_attr("XFRMA_LASTUSED") or lifetime["use_time"]
    last = max(0.0, used - boot) if used else 0.0
    if outbound:
        counters.out_packets += lifetime["packets"]
        counters.out_bytes += lifetime["bytes"]
        counters.out_last = max(counters.out_last, last)
        return
    counters.in_packets += lifetime["packets"]
    counters.in_bytes += lifetime["bytes"]
    counters.in_last = max(counters.in_last, last)
    reasons = {"outside the replay window": "replay_window", "replayed": "replay", "not authentic": "integrity_failed"}
    for reason, name in reasons.items():
        if state["stats"][name]:
            counters.drops[reason] = counters.drops.get(reason, 0) + state["stats"][name]


def used_up(sa: ChildSa, counters: Counters, *, hard: bool) -> bool:
    """Whether a direction of an SA has carried all that its soft or hard limits allow."""
    limit = sa.limits.hard if hard else sa.limits.soft
    carried = ((counters.in_bytes, counters.in_packets), (counters.out_bytes, counters.out_packets))
    return any(limit.is_reached(octets, packets) for octets, packets in carried)
