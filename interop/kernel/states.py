"""The states in a host's kernel, read over netlink."""

from __future__ import annotations

import asyncio
import ctypes
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ikeclone.demo.namespaces import CLONE_NEWNET, Namespace
from ikeclone_xfrm.numbers import Direction, Msg
from ikeclone_xfrm.xfrm import AsyncXfrm


@dataclass(frozen=True, slots=True)
class KernelState:
    """`sends` is the state's direction; `cpu` is None for a fallback's; packets and octets are what it carried."""

    spi: int
    reqid: int
    sends: bool
    cpu: int | None
    packets: int
    octets: int


def states(host: Namespace) -> list[KernelState]:
    """All states, larval ones excepted, the newest first."""
    # A thread that ends afterwards, so that nobody has to come back from the namespace.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_states_in, host.path).result()


def sending(host: Namespace) -> Counter[int | None]:
    """How many states of each CPU send; None is the fallback."""
    return Counter(state.cpu for state in states(host) if state.sends)


def _states_in(namespace: str) -> list[KernelState]:
    """Move this thread into a namespace and read its states."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(namespace).open() as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    return asyncio.run(_states())


async def _states() -> list[KernelState]:
    async with AsyncXfrm() as xfrm:
        await xfrm.bind()
        return [
            KernelState(
                spi=state["id"]["spi"],
                reqid=state["reqid"],
                sends=state.get_attr("XFRMA_SA_DIR") == Direction.OUT,
                cpu=state.get_attr("XFRMA_SA_PCPU"),
                packets=state["curlft"]["packets"],
                octets=state["curlft"]["bytes"],
            )
            for state in await xfrm.dump(Msg.GETSA)
            if state["id"]["spi"]
        ]
