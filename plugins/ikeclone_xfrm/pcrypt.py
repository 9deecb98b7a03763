"""Having several CPUs do the work of one SA: the kernel's template pcrypt around its cipher, padata underneath.

That is for peers that have no clones. Algorithms belong to the whole system, so ours are preferred for no longer than
a state of ours takes to be made, and one daemon on a system can have them.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from ikeclone.backend import BackendError, EspSuite, online_cpus
from ikeclone_xfrm.algorithms import cipher_name
from ikeclone_xfrm.crypto import LIST, LONGEST, Algorithm, AsyncCrypto, algorithms
from ikeclone_xfrm.errors import NotThere, XfrmError
from ikeclone_xfrm.numbers import CryptoMsg
from ikeclone_xfrm.padata import Masks

log = logging.getLogger(__name__)

# Other drivers have some hundreds or thousands. Either tells ours, also those of a daemon that has crashed.
PREFERRED: Final = 9611
PASSED_OVER: Final = 9
_ATTEMPTS, _PAUSE = 40, 0.05  # states that are gone let go of their ciphers a moment later


class Pcrypt:
    """Ours of the kernel's parallel algorithms. Methods raise BackendError when the kernel refuses."""

    def __init__(self) -> None:
        self._masks = Masks()
        self._shares: dict[str, frozenset[int]] = {}
        self._drivers: dict[str, str] = {}
        self._busy = asyncio.Lock()
        self._claim: int | None = None

    async def start(self) -> None:
        """Remove what a daemon that has crashed left, unless another one runs."""
        left = [each.driver for each in algorithms() if _is_ours(each)]
        if left and self._claimed():
            await _remove(left)
            self._masks.reset(frozenset(online_cpus()))
            self._release()

    async def stop(self) -> None:
        """Take everything back, as soon as no state uses it any more."""
        drivers, self._drivers = list(self._drivers.values()), {}
        self._shares.clear()
        try:
            if drivers:
                await _remove(drivers)
            self._masks.restore()
        finally:
            self._release()

    @asynccontextmanager
    async def preferred(self, connection: str, suite: EspSuite, cpus: frozenset[int]) -> AsyncIterator[None]:
        """The work of a state with this suite that is made meanwhile is these CPUs', or that of all if none is named.

        All connections together have one set of CPUs.
        """
        name, online = cipher_name(suite), frozenset(online_cpus())
        if missing := cpus - online:
            raise BackendError(f"parallel-crypto: CPU {min(missing)} is not online")
        if not self._claimed():
            raise BackendError("another ikeclone of this system uses parallel-crypto=")
        async with self._busy, AsyncCrypto() as netlink:
            await netlink.bind()
            if name not in self._drivers:
                self._drivers[name] = await _make(netlink, name)
            self._shares[connection] = cpus or online
            self._masks.set(frozenset[int]().union(*self._shares.values()), online)
            await netlink.change(CryptoMsg.UPDATEALG, self._drivers[name], PREFERRED)
            try:
                yield
            finally:
                await netlink.change(CryptoMsg.UPDATEALG, self._drivers[name], PASSED_OVER)

    def _claimed(self) -> bool:
        """Whether we are the only one on this system, from now on; a lock that its owner's end frees says so."""
        if self._claim is None:
            self._claim = os.open(LIST, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._release()
        return self._claim is not None

    def _release(self) -> None:
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None


async def _make(netlink: AsyncCrypto, name: str) -> str:
    """Make the parallel algorithm of a name, preferred to no other; its driver's name."""
    if any(each.name == name and _is_parallel(each) for each in algorithms()):
        raise BackendError(f"somebody has made pcrypt({name}) for all SAs already: leave parallel-crypto= out")
    reason = "it is not there"
    try:
        await netlink.change(CryptoMsg.NEWALG, f"pcrypt({name})")
    except XfrmError as error:
        # The kernel makes it under a name with the drivers within, and says that there is none of the asked name.
        reason = error.text
    for made in algorithms():
        if made.name == name and _is_parallel(made):
            if len(made.driver) > LONGEST:
                raise BackendError(f"the kernel's name for pcrypt({name}) is too long to change its priority")
            await netlink.change(CryptoMsg.UPDATEALG, made.driver, PASSED_OVER)
            return made.driver
    raise BackendError(f"parallel-crypto: the kernel cannot make pcrypt({name}): {reason}")


async def _remove(drivers: Iterable[str]) -> None:
    """Remove algorithms; one that states of somebody else's use by now stays, and is logged."""
    async with AsyncCrypto() as netlink:
        await netlink.bind()
        for driver in drivers:
            for _ in range(_ATTEMPTS):
                if await _removed(netlink, driver):
                    break
                await asyncio.sleep(_PAUSE)
            else:
                log.warning("the kernel's algorithm %s stays: it is in use", driver)


async def _removed(netlink: AsyncCrypto, driver: str) -> bool:
    try:
        await netlink.change(CryptoMsg.DELALG, driver)
    except NotThere:
        return True
    except XfrmError:
        return False
    return True


def _is_parallel(algorithm: Algorithm) -> bool:
    return algorithm.driver.startswith("pcrypt(")


def _is_ours(algorithm: Algorithm) -> bool:
    return _is_parallel(algorithm) and algorithm.priority in (PREFERRED, PASSED_OVER)
