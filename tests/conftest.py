"""What every test shares."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

# Hypothesis tries constants of the local modules that are loaded, which differ between processes that share the tests.
providers.is_local_module_file = lambda _: False  # type: ignore[assignment, attr-defined]

# The same examples each time, on a machine however busy; those that search longer set their own.
settings.register_profile("fixed", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fixed")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that need real network namespaces are the last; without root they are left out, counted as deselected."""
    items.sort(key=lambda item: (_marked(item, "root"), _marked(item, "alone")))
    rooted = [item for item in items if _marked(item, "root")]
    if rooted and os.geteuid() != 0:
        config.hook.pytest_deselected(items=rooted)
        del items[-len(rooted) :]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Several processes run tests; those marked so run alone. Whoever waits for that does so before its time begins."""
    with Path(__file__).open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX if _marked(item, "alone") else fcntl.LOCK_SH)
        return (yield)


def _marked(item: pytest.Item, mark: str) -> bool:
    return item.get_closest_marker(mark) is not None
