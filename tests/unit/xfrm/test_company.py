"""Others who use the same kernel: what is theirs stays, what they take of ours is put back."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from pyroute2 import AsyncIPRoute

from ikeclone.backend import BackendError, Handling, Mark
from ikeclone_xfrm.foreign import company
from ikeclone_xfrm.listener import Listener
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.routes import TABLE, Routes
from ikeclone_xfrm.shelf import Shelf
from ikeclone_xfrm.sockets import exempt
from ikeclone_xfrm.trap import Trap
from ikeclone_xfrm.xfrm import AsyncXfrm

from .conftest import Run
from .samples import POLICY, REQID
from .test_kernel import BEYOND, connected
from .test_listener import Audience

pytestmark = pytest.mark.root

SELECTOR = "src 192.0.1.0/24 dst 192.0.2.0/24"
TEMPLATE = "tmpl src 192.1.2.45 dst 192.1.2.23 proto esp reqid 7 mode tunnel"


async def ip(arguments: str) -> None:
    """Run `ip ARGUMENTS` in the namespace."""
    process = await asyncio.create_subprocess_exec("ip", *arguments.split())
    assert await process.wait() == 0


async def until(condition: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  the kernel tells nobody
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("theirs", [f"{SELECTOR} dir out {TEMPLATE}", f"{SELECTOR} dir out action block"])
def test_a_policy_of_somebody_else_is_left_alone(in_namespace: Run, theirs: str) -> None:
    async def check() -> None:
        xfrm = await connected()
        await ip(f"xfrm policy add {theirs}")
        trap = Trap(Shelf(xfrm), POLICY, REQID, lambda _: None)
        with pytest.raises(BackendError, match=f"a policy that is not ours, {SELECTOR} dir out: is another IKE daemon"):
            await trap.install(POLICY)
        await trap.remove()
        assert len(await xfrm.dump(Msg.GETPOLICY)) == 1
        marked = replace(POLICY, handling=Handling(mark_out=Mark(7), mark_in=Mark(7)))
        await trap.install(marked)
        assert len(await xfrm.dump(Msg.GETPOLICY)) == 4, "one for other marks is none of the same"
        xfrm.close()

    in_namespace(check())


def test_a_policy_that_somebody_deletes_is_put_back_as_it_was(
    in_namespace: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        xfrm, audience = await connected(), Audience()
        trap = audience.trap = Trap(Shelf(xfrm), POLICY, REQID, lambda _: None)
        await trap.install(POLICY)
        await trap.arm(changed=True)
        before = await policies(xfrm)
        with closing(Listener(audience, xfrm.epid)) as listener:
            await listener.start()
            hearing = asyncio.create_task(listener.run())
            await ip(f"xfrm policy delete {SELECTOR} dir out")
            await until(lambda: _is(policies(xfrm), before))
            await ip("xfrm policy flush")
            await asyncio.wait_for(audience.news.wait(), 10)
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        assert audience.reasons == ["somebody flushed the kernel's policies"]
        await trap.remove()
        await trap.restore()
        assert await policies(xfrm) == []
        xfrm.close()

    with caplog.at_level(logging.WARNING):
        in_namespace(check())
    assert "gw: somebody deleted a policy in the kernel: it is put back" in caplog.text
    assert "somebody flushed the kernel's policies: ours are put back" in caplog.text


def test_what_others_have_is_counted(in_namespace: Run) -> None:
    async def check() -> None:
        xfrm = await connected()
        trap = Trap(Shelf(xfrm), POLICY, REQID, lambda _: None)
        await trap.install(POLICY)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            exempt(sock)
            assert await company() == ""
        await ip(f"xfrm policy add src 10.9.0.0/24 dst 10.8.0.0/24 dir out {TEMPLATE}")
        await ip("xfrm state allocspi src 10.9.0.1 dst 10.8.0.1 proto esp reqid 7")
        assert await company() == "; somebody else has 1 policies and 1 states here"
        xfrm.close()

    in_namespace(check())


async def policies(xfrm: AsyncXfrm) -> list[tuple[int, int, int]]:
    """Their directions, flags and priorities."""
    return sorted((each["dir"], each["flags"], each["priority"]) for each in await xfrm.dump(Msg.GETPOLICY))


@pytest.mark.parametrize(
    "loss",
    [
        f"rule del table {TABLE}",
        f"route flush table {TABLE}",
        "link set eth1 down",
        "address del 192.0.1.254/24 dev eth1",
    ],
)
def test_routes_that_somebody_takes_are_put_back(
    in_namespace: Run, caplog: pytest.LogCaptureFixture, loss: str
) -> None:
    async def check() -> None:
        xfrm = await connected()
        xfrm.close()
        routes = Routes()
        await routes.start()
        path = replace(POLICY.path, remote=ip_address(BEYOND))
        await routes.add(replace(POLICY, path=path, source=ip_address("192.0.1.254")))
        watching = asyncio.create_task(routes.watch())
        async with AsyncIPRoute() as netlink:
            assert await leads(netlink)
            await asyncio.sleep(0)  # it listens
            await ip(loss)
            if "link" in loss:
                await ip("link set eth1 up")
            if "address" in loss:
                await ip("address add 192.0.1.254/24 dev eth1")
            await until(lambda: leads(netlink))
            await until(lambda: _is(_said(caplog), True))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await routes.stop()
        routes.close()

    with caplog.at_level(logging.WARNING):
        in_namespace(check())
    told = caplog.text.count("is put back")
    assert told == 1 or (told > 1 and "flush" in loss), "ip flushes again what came back while it did"


async def leads(netlink: AsyncIPRoute) -> bool:
    """Whether our table has the way to the other network, and is asked for it."""
    rules = [rule async for rule in await netlink.get_rules()]
    routes = [route async for route in await netlink.get_routes(table=TABLE)]
    return len(routes) == 1 and any(rule.get("table") == TABLE for rule in rules)


async def _said(caplog: pytest.LogCaptureFixture) -> bool:
    return "is put back" in caplog.text


async def _is(found: Coroutine[Any, Any, Any], wanted: object) -> bool:
    return bool(await found == wanted)
