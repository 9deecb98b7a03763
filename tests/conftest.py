"""What every test shares."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without root, leave out the tests that need real network namespaces; the summary counts them as deselected."""
    if os.geteuid() == 0:
        return
    rooted = [item for item in items if item.get_closest_marker("root")]
    if rooted:
        config.hook.pytest_deselected(items=rooted)
        items[:] = [item for item in items if item not in rooted]
