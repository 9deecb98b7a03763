"""The replay window against a model that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikeclone_esp.replay import ReplayWindow

SIZES = st.sampled_from([64, 128, 1000, 4096])


@given(SIZES, st.lists(st.tuples(st.integers(-200, 5000), st.integers(1, 70))))
def test_against_a_set(size: int, steps: list[tuple[int, int]]) -> None:
    window, seen, top = ReplayWindow(size), {0}, 0
    for jump, count in steps:
        first = max(1, top + jump)
        for number in range(first, first + count):
            fresh = number not in seen and number > top - size
            assert window.fresh(number) == fresh
        run = range(first, first + count)
        if first > top:
            window.accept_run(first, count)
            seen.update(run)
        else:
            for number in run:
                if window.fresh(number):
                    window.accept(number)
                    seen.add(number)
        top = max(seen)
        assert window.top == top
        assert not any(window.fresh(number) for number in run)


@given(SIZES, st.integers(1, 1 << 40), st.integers(-4000, 1 << 31))
def test_esn_is_inferred_near_the_top(size: int, top: int, distance: int) -> None:
    window = ReplayWindow(size, esn=True)
    window.accept(top)
    number = top + max(distance, 1 - size)
    if number > 0:
        assert window.infer(number & 0xFFFFFFFF) == number


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("high", [1, 5])
def test_esn_is_inferred_where_the_window_spans_two_runs_of_the_low_bits(size: int, high: int) -> None:
    """Just before, at and just after the place where the window's lower end meets the new run (RFC 4303 appendix A)."""
    for top in range((high << 32) - 2, (high << 32) + size + 2):
        window = ReplayWindow(size, esn=True)
        window.accept(top)
        for number in (top - size + 1, top - 1, top, top + 1, top + size):
            assert window.infer(number & 0xFFFFFFFF) == number


@given(st.integers(1, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF))
def test_without_esn_the_number_is_the_number(top: int, low: int) -> None:
    window = ReplayWindow(64)
    window.accept(top)
    assert window.infer(low) == low


def test_zero_is_never_fresh() -> None:
    assert not ReplayWindow(64).fresh(0)
