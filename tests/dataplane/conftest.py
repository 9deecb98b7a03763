"""Two sides joined by a virtual Ethernet, each with a network behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dataplane.netns import Namespace, connect
from tests.dataplane.sides import Side, Tunnel


@pytest.fixture
def namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    left, right = Namespace(), Namespace()
    try:
        connect(left, right, [("198.51.100.1/24", "198.51.100.2/24"), ("2001:db8::1/64", "2001:db8::2/64")])
        for number, namespace in ((1, left), (2, right)):
            for address in (f"10.{number}.0.1/24", f"2001:db8:{number}::1/64"):
                namespace.run("ip", "address", "add", address, "dev", "lo", *["nodad"][: ":" in address])
        yield left, right
    finally:
        left.close()
        right.close()


@pytest.fixture
def tunnel(namespaces: tuple[Namespace, Namespace]) -> Iterator[Tunnel]:
    """IPv4 in IPv4, routed on both sides, without an SA."""
    yield from started(
        Side(namespaces[0], "198.51.100.1", "10.1.0.0/24", "10.1.0.1"),
        Side(namespaces[1], "198.51.100.2", "10.2.0.0/24", "10.2.0.1"),
    )


def started(left: Side, right: Side) -> Iterator[Tunnel]:
    running = []
    try:
        for side in (left, right):
            side.start()
            running.append(side)
        tunnel = Tunnel(left, right)
        tunnel.route()
        yield tunnel
    finally:
        for side in running:
            side.stop()
