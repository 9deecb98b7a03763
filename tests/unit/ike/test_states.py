"""Changes of state that no table knows: bugs, which must not go unnoticed."""

from __future__ import annotations

import pytest

from ikeclone.ike.child import ChildState
from ikeclone.ike.state import State
from tests.pair.network import Network
from tests.pair.scenario import ike_sa, only_child


def test_an_established_ike_sa_is_never_half_open_again() -> None:
    sa = ike_sa(Network().established().west)
    with pytest.raises(AssertionError, match=f"IKE SA #{sa.serial}: ESTABLISHED -> HALF_OPEN"):
        sa.enter(State.HALF_OPEN)
    assert sa.state is State.ESTABLISHED


def test_a_child_sa_that_was_removed_does_not_come_back() -> None:
    net = Network().established()
    child = only_child(net.west)
    net.west.down()
    net.run(1)
    with pytest.raises(AssertionError, match=f"Child SA {child.name}: REMOVED -> INSTALLED"):
        child.enter(ChildState.INSTALLED)
    assert child.state is ChildState.REMOVED
