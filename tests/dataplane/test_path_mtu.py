"""A router between the gateways that takes less than their own cables: what is too large for it gets through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dataplane.conftest import started
from tests.dataplane.netns import Namespace
from tests.dataplane.sides import Side
from tests.dataplane.test_tunnel import transfer

pytestmark = pytest.mark.root

NARROW = 1400
ENDS = (("198.51.100.1", "203.0.113.1"), ("2001:db8:a::1", "2001:db8:b::1"))


@pytest.fixture
def routed() -> Iterator[tuple[Namespace, Namespace, Namespace]]:
    """Left and right, each with a cable to the router, which finds either way narrow; and the router."""
    left, router, right = Namespace(), Namespace(), Namespace()
    try:
        for net in ("ipv4.ip_forward", "ipv6.conf.all.forwarding"):
            router.run("sh", "-c", f"echo 1 > /proc/sys/net/{net.replace('.', '/')}")
        lay(left, router, "198.51.100", "2001:db8:a:", "10.1.0.1")
        lay(right, router, "203.0.113", "2001:db8:b:", "10.2.0.1")
        yield left, right, router
    finally:
        for namespace in (left, router, right):
            namespace.close()


def lay(gateway: Namespace, router: Namespace, net: str, net6: str, inner: str) -> None:
    """A cable to a gateway, which has nothing else; the router is to send it no more than NARROW octets at once."""
    device = f"to{net}"
    gateway.ip(
        f"link add eth0 type veth peer name {device}",
        f"link set {device} netns {router.pid}",
        "link set lo up",
        f"address add {inner}/24 dev lo",
        f"address add {net}.1/24 dev eth0",
        f"address add {net6}:1/64 dev eth0 nodad",
        "link set eth0 up",
    )
    router.ip(
        f"address add {net}.254/24 dev {device}",
        f"address add {net6}:254/64 dev {device} nodad",
        f"link set {device} up",
        f"route add {net}.1/32 dev {device} mtu lock {NARROW}",
        f"route add {net6}:1/128 dev {device} mtu lock {NARROW}",
    )
    gateway.ip(f"route add default via {net}.254", f"route add ::/0 via {net6}:254")


def too_large(router: Namespace) -> int:
    """How many packets were too large for it: it has told their sender, or fragmented those that let it.

    Those that leave as one for the network card to cut do let it, in IPv4.
    """
    names, numbers = [line.split() for line in router.run("cat", "/proc/net/snmp").splitlines() if line[:3] == "Ip:"]
    six = dict(line.split() for line in router.run("cat", "/proc/net/snmp6").splitlines())
    four = dict(zip(names, numbers, strict=True))
    return int(four["FragFails"]) + int(four["FragOKs"]) + int(six["Ip6FragFails"])


@pytest.mark.parametrize(
    ("outer", "encapsulation"), [(ENDS[0], True), (ENDS[1], False)], ids=["UDP over IPv4", "raw over IPv6"]
)
def test_tcp_gets_through(
    routed: tuple[Namespace, Namespace, Namespace], outer: tuple[str, str], encapsulation: bool
) -> None:
    left = Side(routed[0], outer[0], "10.1.0.0/24", "10.1.0.1")
    right = Side(routed[1], outer[1], "10.2.0.0/24", "10.2.0.1")
    for tunnel in started(left, right):
        tunnel.encapsulation = encapsulation
        spis, before = tunnel.add(), too_large(routed[2])
        transfer(tunnel, "10.2.0.1", 1_000_000)
        assert too_large(routed[2]) > before
        assert right.counters()[spis[1]].in_bytes >= 1_000_000
