"""Child SAs are found by SPI and traffic exactly as a search through all of them finds them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from ikeclone.backend import EspSuite, Mode, Path
from ikeclone.ike.child import Agreement, Child
from ikeclone.ike.holdings import Holdings
from ikeclone.numbers import Encr, Integ
from ikeclone.selectors import TrafficSelector
from tests.pair.network import Network

SPIS = st.integers(256, 260)
PATH = Path(ip_address("192.0.2.1"), ip_address("192.0.2.2"))
SUITE = EspSuite(Encr.AES_GCM_16, 256, Integ.NONE)
TUNNEL = Network().west.endpoint.tunnels["westnet-eastnet"]


@st.composite
def selectors(draw: st.DrawFn) -> TrafficSelector:
    """Ranges of all sizes, close to each other."""
    version = draw(st.sampled_from((4, 6)))
    most = 2 ** (32 if version == 4 else 128) - 1
    first = draw(st.integers(0, 600) | st.integers(most - 300, most))
    last = min(most, first + draw(st.integers(0, 40) | st.sampled_from((255, 256, 65535, most))))
    make = IPv4Address if version == 4 else IPv6Address
    ports = sorted(draw(st.tuples(st.integers(0, 3), st.integers(0, 3))))
    return TrafficSelector(make(first), make(last), draw(st.sampled_from((0, 6, 17))), *ports)


@st.composite
def children(draw: st.DrawFn) -> Child:
    """A Child SA with some traffic."""
    remote = tuple(draw(st.lists(selectors(), min_size=1, max_size=3)))
    agreement = Agreement(1, draw(SPIS), SUITE, remote, remote, Mode.TUNNEL, per_resource=False)
    return Child(1, "west", 0, None, agreement, PATH, 0.0, True, TUNNEL)


@settings(max_examples=60)
@given(st.lists(children(), max_size=6), st.data())
def test_as_a_search_through_all(held: list[Child], data: st.DataObject) -> None:
    holdings = Holdings()
    for child in held:
        holdings.add(child)
    while True:
        wanted, spi = data.draw(selectors()), data.draw(SPIS)
        overlapping = {c for c in held if any(wanted.intersection(theirs) for theirs in c.agreement.remote)}
        assert set(holdings.with_traffic(wanted)) == overlapping
        assert set(holdings.sending_on(spi)) == {c for c in held if c.outbound_spi == spi}
        if not held:
            break
        holdings.remove(held.pop(data.draw(st.integers(0, len(held) - 1))))
    assert not holdings._senders
    assert not holdings._blocks
