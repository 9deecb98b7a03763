"""This host's addresses, as the kernel tells of them in a namespace of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from ikeclone.addresses import Addresses, AddressNews, look
from tests.dataplane.netns import Namespace

pytestmark = pytest.mark.root
PEER, ELSEWHERE = ip_address("203.0.113.9"), ip_address("198.51.100.9")


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A host with two devices, the second of which leads to all but the first one's network."""
    namespace = Namespace()
    try:
        namespace.run("ip", "link", "set", "lo", "up")
        for number in (1, 2):
            namespace.run("ip", "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"far{number}")
            namespace.run("ip", "link", "set", f"far{number}", "up")
            namespace.run("ip", "link", "set", f"eth{number}", "up")
            add(namespace, f"203.0.{112 + number}.1/24", f"eth{number}")
        namespace.run("ip", "route", "add", "default", "via", "203.0.114.254")
        yield namespace
    finally:
        namespace.close()


def add(host: Namespace, address: str, device: str, *more: str) -> None:
    host.run("ip", "address", "add", address, "dev", device, *more)


def setting(host: Namespace, name: str, value: int) -> None:
    host.run("sh", "-c", f"echo {value} > /proc/sys/net/ipv6/conf/{name}")


def now(host: Namespace) -> Addresses:
    return host.call(look([PEER, ELSEWHERE]))


def test_the_default_route_says_which_is_first(host: Namespace) -> None:
    here = now(host)
    assert [str(address) for address in here.fit] == ["203.0.114.1", "203.0.113.1"]
    assert {str(peer): str(source) for peer, source in here.sources.items()} == {
        "203.0.113.9": "203.0.113.1",
        "198.51.100.9": "203.0.114.1",
    }


def test_what_no_peer_reaches_is_not_fit(host: Namespace) -> None:
    """Addresses of loopback, of devices that are tunnels, and of one link only; but connections may name them."""
    before = now(host).fit
    add(host, "192.0.1.254/32", "lo")
    host.run("ip", "tuntap", "add", "tun0", "mode", "tun")
    host.run("ip", "link", "set", "tun0", "up")
    add(host, "192.0.2.254/24", "tun0")
    add(host, "169.254.7.7/16", "eth1", "scope", "link")
    here = now(host)
    assert here.fit == before
    assert {ip_address(text) for text in ("192.0.1.254", "192.0.2.254", "169.254.7.7")} < here.all


def test_an_address_that_cannot_be_used_is_not_there(host: Namespace) -> None:
    """A device that is down, and an address of which is not known yet whether somebody has it."""
    setting(host, "eth1/dad_transmits", 100)
    add(host, "2001:db8::1/64", "eth1")
    add(host, "2001:db8::2/64", "eth1", "nodad")
    assert ip_address("2001:db8::1") not in now(host).all
    assert ip_address("2001:db8::2") in now(host).fit
    host.run("ip", "link", "set", "eth1", "down")
    assert not {ip_address("203.0.113.1"), ip_address("2001:db8::2")} & now(host).all
    assert [str(address) for address in now(host).fit] == ["203.0.114.1"]


def test_one_that_is_to_be_used_no_more_is_last(host: Namespace) -> None:
    host.run("ip", "address", "change", "203.0.114.1/24", "dev", "eth2", "preferred_lft", "0")
    assert [str(address) for address in now(host).fit] == ["203.0.113.1", "203.0.114.1"]


def test_no_address_at_all(host: Namespace) -> None:
    for number in (1, 2):
        host.run("ip", "link", "set", f"eth{number}", "down")
    assert (now(host).fit, now(host).sources) == ((), {})


async def news(told: AddressNews, seconds: float) -> bool:
    """Whether there is news within some time."""
    try:
        async with asyncio.timeout(seconds):
            await told.wait()
    except TimeoutError:
        return False
    return True


async def _listen() -> AddressNews:
    return AddressNews()


def test_any_amount_of_news_is_one_look(host: Namespace) -> None:
    """More than the socket holds: the rest is lost, and nothing is missed."""
    setting(host, "all/disable_ipv6", 1)  # which has news of its own when it likes
    changes = host.call(_listen())
    while host.call(news(changes, 2)):
        continue  # the devices come up
    script = "for i in $(seq 250); do echo route add 10.$i.0.0/16 dev eth1; echo route del 10.$i.0.0/16; done"
    host.run("sh", "-c", f"({script}; {script}; {script}) | ip -batch -")
    assert host.call(news(changes, 20))
    assert not host.call(news(changes, 0.5))
    add(host, "203.0.113.2/24", "eth1")
    assert host.call(news(changes, 20))
    assert ip_address("203.0.113.2") in now(host).fit
    changes.close()
