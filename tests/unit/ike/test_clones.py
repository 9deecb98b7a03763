"""How long a connection waits after its peer has refused a clone."""

from __future__ import annotations

import pytest

from ikeclone.ike.clones import Clones

FIRST, MOST = 60.0, 3600.0


def refused(clones: Clones, now: float) -> float | None:
    return clones.refuse("TS_MAX_QUEUE", now, FIRST, MOST, lasting=True)


def test_each_pause_is_twice_as_long_as_the_one_before_up_to_a_limit() -> None:
    clones, now, pauses = Clones(None, 0.0), 0.0, []
    for _ in range(8):
        pause = refused(clones, now)
        assert pause is not None
        pauses.append(pause)
        now += pause
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_a_peer_may_refuse_for_years() -> None:
    clones = Clones(None, 0.0)
    pauses = [refused(clones, float(hour * 3600)) for hour in range(3 * 365 * 24)]
    assert pauses[-1] == MOST


def test_of_several_refusals_at_once_the_first_one_counts() -> None:
    clones = Clones(None, 0.0)
    assert refused(clones, 0.0) == FIRST
    assert refused(clones, 1.0) is None
    assert (clones.refusals, clones.refused_until) == (2, FIRST)


@pytest.mark.parametrize(("at", "pause"), [(10.0, 2 * FIRST), (61.0, FIRST)])
def test_a_clone_that_the_peer_takes_makes_the_next_pause_a_first_one(at: float, pause: float) -> None:
    """Unless its answer was only on its way together with the refusal."""
    clones = Clones(None, 0.0)
    refused(clones, 0.0)
    clones.opened(at)
    assert refused(clones, 100.0) == pause
