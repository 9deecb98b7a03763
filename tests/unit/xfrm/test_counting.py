"""What states carried, measured by the limits of their Child SA."""

from __future__ import annotations

import pytest

from ikeclone.backend import Counters, Limits, Volume
from ikeclone_xfrm.counting import used_up
from tests.unit.xfrm.samples import child

LIMITS = Limits(Volume(1000, 10), Volume(2000, 20))


@pytest.mark.parametrize(
    ("counters", "soft", "hard"),
    [
        (Counters(in_bytes=999, in_packets=9, out_bytes=999, out_packets=9), False, False),
        (Counters(in_bytes=1000), True, False),
        (Counters(out_packets=10), True, False),
        (Counters(in_bytes=1999, in_packets=19), True, False),
        (Counters(out_bytes=2000), True, True),
        (Counters(in_packets=20), True, True),
    ],
)
def test_either_direction_can_use_an_sa_up(counters: Counters, soft: bool, hard: bool) -> None:
    sa = child(limits=LIMITS)
    assert (used_up(sa, counters, hard=False), used_up(sa, counters, hard=True)) == (soft, hard)


def test_without_limits_nothing_does() -> None:
    much = Counters(in_bytes=1 << 62, in_packets=1 << 62, out_bytes=1 << 62, out_packets=1 << 62)
    assert not any(used_up(child(), much, hard=hard) for hard in (False, True))
