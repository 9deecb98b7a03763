"""Waiting for what another process does, always with an end."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float, what: str, interval: float = 0.05) -> float:
    """Wait until the condition holds, return how long it took; raises TimeoutError."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise TimeoutError(f"{what}: not there after {seconds:.0f} s")
        time.sleep(interval)
    return time.monotonic() - begin
