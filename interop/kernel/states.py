"""The states in a host's kernel, read over netlink."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from ikeclone.demo.namespaces import Namespace
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
    return asyncio.run(_states(host.path))


def sending(host: Namespace) -> Counter[int | None]:
    """How many states of each CPU send; None is the fallback."""
    return Counter(state.cpu for state in states(host) if state.sends)


async def _states(namespace: str) -> list[KernelState]:
    async with AsyncXfrm(netns=namespace) as xfrm:
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
