"""With the kernel of the machine, in a network namespace: what needs policies and acquires, but no ESP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from dataclasses import replace
from ipaddress import ip_address

import pytest
from pyroute2 import AsyncIPRoute

from ikeclone.backend import Acquire, BackendError, Handling, Mark
from ikeclone_xfrm import larval
from ikeclone_xfrm import listener as module
from ikeclone_xfrm.addresses import Addresses
from ikeclone_xfrm.backend import XfrmBackend
from ikeclone_xfrm.decline import Decliner
from ikeclone_xfrm.errors import NotThere
from ikeclone_xfrm.larval import Larvae
from ikeclone_xfrm.listener import Listener
from ikeclone_xfrm.numbers import Msg
from ikeclone_xfrm.policies import is_ours
from ikeclone_xfrm.probe import probe
from ikeclone_xfrm.routes import Routes
from ikeclone_xfrm.session import lock
from ikeclone_xfrm.shelf import Shelf
from ikeclone_xfrm.sockets import exempt
from ikeclone_xfrm.states import identity
from ikeclone_xfrm.sweep import sweep
from ikeclone_xfrm.trap import Trap
from ikeclone_xfrm.xfrm import AsyncXfrm

from .conftest import Run
from .samples import EAST, POLICY, REQID
from .test_listener import Audience

pytestmark = pytest.mark.root

INNER, BEYOND = "192.0.1.254", "192.0.2.254"


async def connected() -> AsyncXfrm:
    """A requester, and a network in which packets from west's network to east's find a way to leave."""
    async with AsyncIPRoute() as route:
        # What is sent over the loopback device meets no policy.
        await route.link("add", ifname="eth1", kind="veth", peer={"ifname": "eth2"})
        (cable,) = await route.link_lookup(ifname="eth1")
        await route.link("set", index=cable, state="up")
        await route.addr("add", index=cable, address=INNER, prefixlen=24)
        await route.route("add", dst="192.0.2.0/24", oif=cable)
    xfrm = AsyncXfrm()
    await xfrm.bind()
    return xfrm


def send(exempted: bool = False) -> None:
    """A packet from one network to the other; what becomes of it is another matter."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((INNER, 0))
        if exempted:
            exempt(sock)
        sock.setblocking(False)
        sock.sendto(b"?", (BEYOND, 9))


def test_the_kernel_takes_policies_and_gives_them_back(in_namespace: Run) -> None:
    async def check() -> None:
        xfrm = await connected()
        trap = Trap(Shelf(xfrm), POLICY, REQID, lambda _: None)
        await trap.install(POLICY)
        await trap.arm(changed=True)
        found = await xfrm.dump(Msg.GETPOLICY)
        assert sorted((policy["dir"], policy["flags"]) for policy in found) == [(0, 0), (1, 4), (2, 0)]
        assert all(is_ours(policy.get_attr("XFRMA_TMPL")["reqid"]) for policy in found)
        await trap.remove()
        assert await xfrm.dump(Msg.GETPOLICY) == []
        xfrm.close()

    in_namespace(check())


def test_dumps_on_one_socket_wait_for_each_other(in_namespace: Run) -> None:
    async def check() -> None:
        added = [f"xfrm policy add dst 192.0.{net}.{host * 8}/29 dir out" for net in range(10) for host in range(32)]
        ip = await asyncio.create_subprocess_exec("ip", "-batch", "-", stdin=subprocess.PIPE)
        await ip.communicate("\n".join(added).encode())
        xfrm = AsyncXfrm()
        await xfrm.bind()
        found = await asyncio.gather(*(xfrm.dump(Msg.GETPOLICY) for _ in range(3)))
        assert [len(policies) for policies in found] == [320, 320, 320]
        xfrm.close()

    in_namespace(check())


def test_a_packet_raises_an_acquire_even_while_those_for_single_cpus_are_declined(in_namespace: Run) -> None:
    async def check() -> None:
        xfrm, audience, decliner = await connected(), Audience(), Decliner()
        listener = Listener(audience, xfrm.epid)
        await listener.start()
        hearing = asyncio.create_task(listener.run())
        trap = Trap(Shelf(xfrm), POLICY, REQID, lambda _: None)
        await trap.install(POLICY)
        await trap.arm(changed=True)
        send()
        await asyncio.wait_for(audience.news.wait(), 30)
        (heard,) = audience.heard
        assert isinstance(heard, Acquire)
        assert (heard.connection, heard.cpu) == ("gw", None)
        assert heard.packet is not None
        assert list(map(str, heard.packet))[1] == f"{BEYOND}/32/17/9"
        larval = await xfrm.dump(Msg.GETSA)
        assert [state["reqid"] for state in larval] == [REQID]
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        for closable in (listener, decliner, xfrm):
            closable.close()

    in_namespace(check())


def test_an_exempted_socket_meets_no_policy(in_namespace: Run) -> None:
    async def check() -> None:
        xfrm = await connected()
        await Trap(Shelf(xfrm), POLICY, REQID, lambda _: None).install(POLICY)
        send(exempted=True)
        assert await xfrm.dump(Msg.GETSA) == []
        send()
        assert len(await xfrm.dump(Msg.GETSA)) == 1
        xfrm.close()

    # Without a listener the kernel asks nobody and makes no larval state: that is what the second part is for.
    async def listening() -> None:
        ear = AsyncXfrm()
        await ear.bind(groups=1)
        await check()
        ear.close()

    in_namespace(listening())


def test_sweeping_takes_what_is_ours_and_nothing_else(in_namespace: Run) -> None:
    async def check() -> None:
        xfrm = await connected()
        await Trap(Shelf(xfrm), POLICY, 7, lambda _: None).install(POLICY)
        foreign = len(await xfrm.dump(Msg.GETPOLICY))
        other = POLICY.__class__("other", POLICY.remote, POLICY.local, POLICY.path)
        await Trap(Shelf(xfrm), other, REQID, lambda _: None).install(other)
        assert await sweep(xfrm) == 3
        assert len(await xfrm.dump(Msg.GETPOLICY)) == foreign
        xfrm.close()

    in_namespace(check())


@pytest.mark.parametrize("handling", [Handling(), Handling(mark_out=Mark(0, 1))])
def test_a_larval_state_goes_too(in_namespace: Run, handling: Handling) -> None:
    """What an acquire that nobody has answered left would hold packets back for half a minute."""

    async def check() -> None:
        xfrm, ear = await connected(), AsyncXfrm()
        await ear.bind(groups=1)
        policy = replace(POLICY, handling=handling)
        await Trap(Shelf(xfrm), policy, REQID, lambda _: None).install(policy)
        send()
        (larval,) = await xfrm.dump(Msg.GETSA)
        assert larval["id"]["spi"] == 0
        assert await sweep(xfrm) == 4
        assert await xfrm.dump(Msg.GETSA) == []
        for closable in (ear, xfrm):
            closable.close()

    in_namespace(check())


@pytest.mark.parametrize("handling", [Handling(), Handling(mark_out=Mark(0, 1))])
def test_what_nothing_answers_is_asked_again(
    in_namespace: Run, monkeypatch: pytest.MonkeyPatch, handling: Handling
) -> None:
    monkeypatch.setattr(larval, "PATIENCE", 0.1)

    async def check() -> None:
        xfrm, audience, larvae = await connected(), Audience(), Larvae()
        listener = Listener(audience, xfrm.epid)
        await listener.start()
        hearing = asyncio.create_task(listener.run())
        policy = replace(POLICY, handling=handling)
        await Trap(Shelf(xfrm), policy, REQID, lambda _: None).install(policy)
        for _ in range(2):
            audience.news.clear()
            send()
            await asyncio.wait_for(audience.news.wait(), 30)
            assert len(await xfrm.dump(Msg.GETSA)) == 1
            await larvae.wait(audience.waiting[-1], xfrm)
            assert await xfrm.dump(Msg.GETSA) == []
        assert len(audience.heard) == 2
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        for closable in (listener, xfrm):
            closable.close()

    in_namespace(check())


def test_after_lost_news_the_next_packet_asks_again(in_namespace: Run) -> None:
    async def check() -> None:
        xfrm, ear = await connected(), AsyncXfrm()
        await ear.bind(groups=1)
        await Trap(Shelf(xfrm), POLICY, REQID, lambda _: None).install(POLICY)
        send()
        (larval,) = await xfrm.dump(Msg.GETSA)
        await Larvae().end_unheard([larval], xfrm)
        assert await xfrm.dump(Msg.GETSA) == []
        send()
        (another,) = await xfrm.dump(Msg.GETSA)
        assert another["seq"] > larval["seq"]
        for closable in (ear, xfrm):
            closable.close()

    in_namespace(check())


def test_when_news_are_lost_the_kernel_is_looked_at(in_namespace: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receive buffer is as small as the kernel lets it be, and nobody reads meanwhile."""
    monkeypatch.setattr(module, "_BUFFER", 1)

    async def check() -> None:
        xfrm, audience = await connected(), Audience()
        listener = Listener(audience, xfrm.epid)
        await listener.start()
        policies = "".join(
            f"xfrm policy add src 10.9.{n}.0/24 dst 10.8.0.0/16 dir in action allow\n" for n in range(100)
        )
        subprocess.run(["ip", "-batch", "-"], input=policies, text=True, check=True)  # noqa: ASYNC221  the loop shall not hear
        hearing = asyncio.create_task(listener.run())
        await asyncio.wait_for(audience.news.wait(), 30)
        assert audience.reasons == ["the kernel lost them"]
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        for closable in (listener, xfrm):
            closable.close()

    in_namespace(check())


def test_errors_have_a_type_and_the_kernels_words(in_namespace: Run) -> None:
    async def check() -> None:
        xfrm = await connected()
        with pytest.raises(NotThere, match=r"GETSA: .*ESRCH"):
            await xfrm.fetch(Msg.GETSA, identity(EAST, 0x12345678))
        xfrm.close()

    in_namespace(check())


def test_a_start_either_says_why_it_cannot_be_or_leaves_nothing(in_namespace: Run) -> None:
    async def check() -> None:
        backend = XfrmBackend()
        expected: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if not await _has_esp():
            expected = pytest.raises(BackendError, match=r"no ESP.*--backend esp")
        with expected:
            await backend.start()
        await backend.stop()
        xfrm = AsyncXfrm()
        await xfrm.bind()
        assert await xfrm.dump(Msg.GETSA) == []
        xfrm.close()

    in_namespace(check())


async def _has_esp() -> bool:
    try:
        await probe()
    except BackendError:
        return False
    return True


def test_there_is_one_backend_in_a_namespace(in_namespace: Run) -> None:
    async def check() -> None:
        with lock(), pytest.raises(BackendError, match="another ikeclone"):
            lock()
        lock().close()

    in_namespace(check())


async def _addresses() -> set[str]:
    async with AsyncIPRoute() as route:
        return {each.get("address") async for each in await route.get_addr(index=1)}


def test_addresses_inside_tunnels_come_and_go(in_namespace: Run) -> None:
    """Two connections may have the same; one that the host had before stays, one that a crash has left goes."""

    async def scenario() -> None:
        one, own, six = (ip_address(text) for text in ("10.3.0.1", "10.3.0.9", "2001:db8:3::1"))
        async with AsyncIPRoute() as route:
            await route.link("set", index=1, state="up")
            await route.addr("add", index=1, address=str(own), prefixlen=32)
            before = await _addresses()
            given, policy = Addresses(route), replace(POLICY, addresses=(one, own, six))
            for name in ("a", "b"):
                await given.give(replace(policy, connection=name))
            assert await _addresses() == before | {str(one), str(six)}
            await given.keep("a", ())
            assert await _addresses() == before | {str(one), str(six)}
            await given.keep("b", (one,))
            assert await _addresses() == before | {str(one)}
            await Addresses(route).sweep()
            assert await _addresses() == before

    in_namespace(scenario())


def test_routes_prefer_the_address_inside_the_tunnel(in_namespace: Run) -> None:
    async def scenario() -> None:
        xfrm = await connected()
        xfrm.close()
        routes = Routes()
        await routes.start()
        async with AsyncIPRoute() as route:
            policy = replace(
                POLICY, path=replace(POLICY.path, remote=ip_address(BEYOND)), addresses=(ip_address("10.3.0.1"),)
            )
            await routes.add(policy)
            (found,) = await route.route("get", dst=BEYOND)
            assert found.get("prefsrc") == "10.3.0.1"
            await routes.remove(policy.connection)
            assert "10.3.0.1" not in await _addresses()
        await routes.stop()
        routes.close()

    in_namespace(scenario())
