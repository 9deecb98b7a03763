"""What the IKE SAs of an endpoint share."""

from __future__ import annotations

from datetime import UTC, datetime

from ikeclone.ike.host import Host, Settings
from ikeclone.memory import MemoryBackend


def test_an_spi_is_never_zero() -> None:
    """Zero in a header means that there is none yet (RFC 7296 section 3.1)."""
    drawn = iter([bytes(8), bytes(8), b"\0" * 7 + b"\1"])
    backend = MemoryBackend(frozenset({0}), 0x1000, lambda: 0.0)
    host = Host(backend, lambda size: next(drawn), lambda: datetime.now(UTC), Settings())
    assert host.spi() == b"\0" * 7 + b"\1"
