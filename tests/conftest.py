"""What every test shares."""

from __future__ import annotations

import fcntl
import logging
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


class Bugs(logging.Handler):
    """What the endpoint survives a test shall not: an exception that is only logged is raised."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and (bug := record.exc_info[1]) is not None:
            raise bug


@pytest.fixture(autouse=True)
def no_bug() -> Iterator[None]:
    """A bug in one IKE SA, which ends it alone, fails the test; not where tests are about that."""
    handler, log = Bugs(), logging.getLogger("ikeclone.ike")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _marked(item: pytest.Item, mark: str) -> bool:
    return item.get_closest_marker(mark) is not None
