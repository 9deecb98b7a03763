"""Child SAs are found by the peer's traffic, whatever the size and family of their networks."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import cast

import pytest

from ikeclone.ike.child import Child
from ikeclone.ike.holdings import Holdings
from ikeclone.selectors import TrafficSelector


@dataclass(frozen=True)
class Agreed:
    remote: tuple[TrafficSelector, ...]


@dataclass(frozen=True)
class Held:
    """What of a Child SA it is found by."""

    outbound_spi: int
    agreement: Agreed


def selector(network: str) -> TrafficSelector:
    return TrafficSelector.of(ip_network(network))


def child(spi: int, *networks: str) -> Child:
    return cast("Child", Held(spi, Agreed(tuple(map(selector, networks)))))


@pytest.mark.parametrize(
    ("wanted", "spis"),
    [
        ("10.1.2.0/24", {1}),
        ("10.0.0.0/8", {1, 2}),
        ("10.2.0.7/32", {2}),
        ("10.3.0.0/16", set()),
        ("2001:db8::/32", {2, 3}),
        ("2001:db8:2::1/128", {3}),
        ("::/0", {2, 3}),
    ],
)
def test_by_traffic(wanted: str, spis: set[int]) -> None:
    holdings = Holdings()
    for held in (child(1, "10.1.0.0/16"), child(2, "10.2.0.0/24", "2001:db8:1::/48"), child(3, "2001:db8:2::/64")):
        holdings.add(held)
    assert {each.outbound_spi for each in holdings.with_traffic(selector(wanted))} == spis


def test_what_is_removed_is_not_found() -> None:
    holdings, held = Holdings(), child(1, "10.1.0.0/16")
    holdings.add(held)
    holdings.remove(held)
    assert list(holdings.sending_on(1)) == list(holdings.with_traffic(selector("0.0.0.0/0"))) == []
