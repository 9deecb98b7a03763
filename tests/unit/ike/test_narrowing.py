"""Traffic selectors of two sides, and answers that are not within an offer."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from ikeclone.errors import TsUnacceptable
from ikeclone.ike.narrowing import narrow, within
from ikeclone.selectors import TrafficSelector


def selectors(*networks: str) -> tuple[TrafficSelector, ...]:
    return tuple(TrafficSelector.of(ip_network(network)) for network in networks)


@pytest.mark.parametrize(
    ("offered", "configured", "common"),
    [
        (("10.1.0.0/16",), ("10.0.0.0/8",), ("10.1.0.0/16",)),
        (("10.0.0.0/8",), ("10.1.0.0/16", "10.2.0.0/16"), ("10.1.0.0/16", "10.2.0.0/16")),
        # One that covers others takes their place, whichever comes first (RFC 7296 section 2.9).
        (("10.1.2.0/24", "10.1.0.0/16"), ("10.0.0.0/8",), ("10.1.0.0/16",)),
        (("10.1.0.0/16", "10.1.2.0/24"), ("10.0.0.0/8",), ("10.1.0.0/16",)),
        (("2001:db8::/32", "10.1.2.0/24"), ("10.1.0.0/16",), ("10.1.2.0/24",)),
    ],
)
def test_what_both_cover(offered: tuple[str, ...], configured: tuple[str, ...], common: tuple[str, ...]) -> None:
    assert narrow(selectors(*offered), selectors(*configured)) == selectors(*common)


def test_nothing_in_common() -> None:
    with pytest.raises(TsUnacceptable):
        narrow(selectors("10.1.0.0/16"), selectors("10.2.0.0/16", "2001:db8::/32"))


@pytest.mark.parametrize("answer", [(), ("10.0.0.0/8",), ("10.1.2.0/24", "10.2.0.0/16")])
def test_an_answer_that_is_not_within_the_offer(answer: tuple[str, ...]) -> None:
    with pytest.raises(TsUnacceptable, match="widens"):
        within(selectors(*answer), selectors("10.1.0.0/16"))


def test_an_answer_within_the_offer() -> None:
    assert within(selectors("10.1.2.0/24"), selectors("10.1.0.0/16")) == selectors("10.1.2.0/24")
