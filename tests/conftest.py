"""What every test shares."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples each time, on a machine however busy; those that search longer set their own.
settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fixed")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need real network namespaces are the last; without root they are left out, counted as deselected."""
    rooted = [item for item in items if item.get_closest_marker("root")]
    others = [item for item in items if not item.get_closest_marker("root")]
    if os.geteuid() == 0:
        items[:] = others + rooted
    elif rooted:
        config.hook.pytest_deselected(items=rooted)
        items[:] = others


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tests run beside each other in processes of their own, but those with namespaces each run alone.

    They pin processes to CPUs and measure time. Whoever waits for its turn does so before its own time begins.
    """
    with Path(__file__).open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX if item.get_closest_marker("root") else fcntl.LOCK_SH)
        return (yield)
