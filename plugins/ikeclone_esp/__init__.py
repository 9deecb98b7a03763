"""A data plane of ikeclone's own: ESP in Python, one worker process per CPU, a TUN device, no kernel IPsec."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ikeclone_esp.backend import EspBackend

__all__ = ["EspBackend"]


def __getattr__(name: str) -> object:
    """The backend is imported when it is asked for: the workers start without it, and without asyncio."""
    if name != "EspBackend":
        raise AttributeError(name)
    from ikeclone_esp.backend import EspBackend

    return EspBackend
