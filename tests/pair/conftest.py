"""What the exchange scenarios are run for."""

from __future__ import annotations

import pytest

from tests.pair.network import Network, Side
from tests.pair.scenario import NONCES


@pytest.fixture(params=NONCES)
def lowest(request: pytest.FixtureRequest) -> str:
    """Which of the four nonces is the lowest."""
    return str(request.param)


@pytest.fixture(params=["west", "east"])
def roles(request: pytest.FixtureRequest, net: Network) -> tuple[Side, Side]:
    """The side that acts and the other one: either of them was the IKE SA's initiator."""
    return (net.west, net.east) if request.param == "west" else (net.east, net.west)
