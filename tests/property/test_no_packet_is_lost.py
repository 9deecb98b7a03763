"""Whatever is rekeyed on a lossy network, and by whom, no packet goes astray.

`IKECLONE_EXAMPLES=5000 pytest tests/property/test_no_packet_is_lost.py` searches longer, and elsewhere each time.
"""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ikeclone.connection import Timing
from ikeclone.errors import LocalError
from tests.pair.network import Network
from tests.property.test_endpoints import PHASES, moments, west_or_east, whats

EXAMPLES = int(os.environ.get("IKECLONE_EXAMPLES", "0"))
# A quarter of a minute on a machine with nothing else to do; who asks for more examples has the time.
pytestmark = pytest.mark.timeout(0 if EXAMPLES else 300)


def traffic_during(net: Network, steps: list[tuple[str, str, float]]) -> None:
    """Packets on every CPU all the while; there is always an SA for them."""
    for name, what, seconds in steps:
        with contextlib.suppress(LocalError):
            getattr(net, name).rekey(ike=what == "ike", reauth=what == "reauth")
        for _ in range(10):
            assert all(side.packet(cpu) for side in net.sides for cpu in (0, 1))
            net.run(seconds / 10)


def with_clones(seed: int) -> Network:
    """A patient tunnel with a clone on every CPU."""
    timing = Timing(retransmit_timeout=600)
    net = Network(seed=seed, west={"timing": timing}, east={"timing": timing}).established()
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(2)
    return net


@settings(derandomize=not EXAMPLES, database=None, phases=PHASES, max_examples=EXAMPLES or 80)
@given(
    seed=st.integers(0, 2**16),
    loss=st.sampled_from([0.0, 0.2, 0.4]),
    steps=st.lists(st.tuples(west_or_east, whats, moments), max_size=12),
)
def test_no_packet_is_lost(seed: int, loss: float, steps: list[tuple[str, str, float]]) -> None:
    """A packet is only ever lost on its way: there is an SA for it, and the peer accepts it."""
    net = with_clones(seed)
    net.link.loss = loss
    traffic_during(net, steps)
    assert net.lost_packets == []
