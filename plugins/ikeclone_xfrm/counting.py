"""What states carried, as the contract counts it."""

from __future__ import annotations

from typing import Any, Final

from ikeclone.backend import ChildSa, Counters

_SEQUENCE_NUMBERS: Final = 1 << 32  # without extended ones (RFC 4303 section 3.3.3)
_SOFT, _HARD = 0.75, 0.98


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
    """Whether an SA has nearly (soft) or as good as wholly (hard) used its sequence numbers."""
    share = _HARD if hard else _SOFT
    return not sa.suite.esn and max(counters.in_packets, counters.out_packets) > share * _SEQUENCE_NUMBERS
