"""However two hosts move on a bad network, once there is a way between them they find it and agree on it.

`IKECLONE_EXAMPLES=5000 pytest tests/property/test_moves.py` searches longer, and elsewhere each time.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ikeclone.connection import Auto
from ikeclone.ike.mobike import PATIENCE
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from tests.pair.network import WEST_END, Network, Side
from tests.property.test_endpoints import HOMES, PHASES, TIMING, kept, moments, west_or_east

EXAMPLES = int(os.environ.get("IKECLONE_EXAMPLES", "0"))
pytestmark = pytest.mark.timeout(0 if EXAMPLES else 180)


def mobile(seed: int) -> Network:
    """East takes west from anywhere, and has told of its second address."""
    west = {"mobike": True, "timing": TIMING, "auto": Auto.START}
    east = {"mobike": True, "timing": TIMING, "remote": replace(WEST_END, address=None)}
    net = Network(seed=seed, west=west, east=east)
    net.east.addresses(*HOMES["east"])
    return net.established()


def only_ike_sa(side: Side) -> IkeSa:
    (sa,) = [sa for sa in side.endpoint.ike_sas() if sa.state is not State.DEAD]
    return sa


@settings(derandomize=not EXAMPLES, database=None, phases=PHASES, max_examples=EXAMPLES or 100)
@given(
    seed=st.integers(0, 2**16),
    loss=st.sampled_from([0.0, 0.2, 0.4]),
    steps=st.lists(st.tuples(west_or_east, kept, moments), max_size=12),
    there=st.sampled_from([(0,), (1,), (0, 1)]),
)
def test_a_way_is_found_and_agreed_on(
    seed: int, loss: float, steps: list[tuple[str, tuple[int, ...], float]], there: tuple[int, ...]
) -> None:
    net = mobile(seed)
    net.link.loss = loss
    for name, numbers, seconds in (*steps, ("west", there, 0.0), ("east", (0, 1), 0.0)):
        getattr(net, name).addresses(*(HOMES[name][number] for number in numbers))
        net.run(seconds)
    net.link.loss = 0.0
    net.run(PATIENCE + 100)
    net.assert_consistent()
    west, east = only_ike_sa(net.west), only_ike_sa(net.east)
    assert west.spi_i == east.spi_i
    assert west.path.local in net.west.own
    assert west.path.remote in net.east.own
    paths = {child.path for sa in (west, east) for child in sa.children.values()}
    assert {west.path, *paths} == {west.path, east.path} == {west.path, west.path.reverse}
