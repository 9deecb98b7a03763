"""What a running backend holds of the system: its lock, its sockets, its routes."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack
from typing import Final

from ikeclone.backend import BackendError
from ikeclone_xfrm.decline import Decliner
from ikeclone_xfrm.listener import Audience, Listener
from ikeclone_xfrm.placement import Placement
from ikeclone_xfrm.routes import Routes
from ikeclone_xfrm.shelf import Shelf
from ikeclone_xfrm.sweep import sweep
from ikeclone_xfrm.xfrm import AsyncXfrm

log = logging.getLogger(__name__)

_LOCK: Final = "\0ikeclone-xfrm"  # an abstract name: it is free again when its owner ends, and each namespace has it


class Session:
    """Usable from `open` to `close`."""

    listener: Listener

    def __init__(self) -> None:
        self.xfrm = AsyncXfrm()
        self.shelf = Shelf(self.xfrm)
        self.routes = Routes()
        self.placement = Placement(self.routes.way_to)
        self._closing = ExitStack()

    async def open(self, audience: Audience) -> None:
        """Remove what an earlier daemon left, and listen for this audience; raises BackendError."""
        try:
            self._closing.callback(lock().close)
            self._closing.callback(self.xfrm.close)
            await self.xfrm.bind()
            if found := await sweep(self.xfrm):
                log.warning("%d policies and states of an earlier daemon are removed", found)
            await self.placement.pcrypt.start()
            self._closing.callback(self.routes.close)
            await self.routes.start()
            self.listener = Listener(audience, self.xfrm.epid)
            self._closing.callback(self.listener.close)
            await self.listener.start()
            self._closing.callback(Decliner().close)
        except (BackendError, OSError) as error:
            self._closing.close()
            raise BackendError(f"the kernel's IPsec cannot be used: {error}") from error

    async def close(self) -> None:
        """Leave nothing of ours; raises BackendError if the kernel does not let go of something."""
        try:
            await self.routes.stop()
            await sweep(self.xfrm)
            await self.placement.pcrypt.stop()
        finally:
            self._closing.close()


def lock() -> socket.socket:
    """What only one backend in a network namespace can have: each would take the other's states for leftovers.

    Raises BackendError when somebody has it.
    """
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(_LOCK)
    except OSError as error:
        held.close()
        raise BackendError("another ikeclone uses the kernel's IPsec in this network namespace") from error
    return held
