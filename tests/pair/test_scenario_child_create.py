"""Opening a Child SA, message by message."""

from __future__ import annotations

from ikeclone.numbers import NotifyType
from tests.pair.network import Network
from tests.pair.scenario import (
    MULTI_KE,
    assert_one_tunnel,
    by_hand,
    delete,
    ike_sa,
    notifies,
    only_child,
    rounds,
)


def childless(net: Network) -> None:
    """Delete the only Child SA; the IKE SA stays."""
    west, east = net.sides
    delete(west, only_child(west))
    east.take()
    west.take()
    assert [side.children for side in net.sides] == [[], []]


def test_duplicate() -> None:
    """What is up already, or on its way up, is not opened a second time."""
    net = by_hand()
    west, east = net.sides
    west.up()
    west.packet(0)
    net.run(0.1)
    assert not east.inbox
    childless(net)
    for _ in range(3):
        west.up()
        assert not west.packet(0)
    east.take()
    west.take()
    assert not east.inbox
    assert_one_tunnel(net)


def test_collision_ike_rekey() -> None:
    """One side opens a Child SA while the other rekeys the IKE SA: both are put off, and both are done in the end."""
    net = by_hand()
    west, east = net.sides
    childless(net)
    before = ike_sa(west)
    west.up()
    east.rekey(ike=True)
    west.take()
    east.take()
    assert notifies(west) == notifies(east) == {NotifyType.TEMPORARY_FAILURE}
    assert_one_tunnel(net)
    assert ike_sa(west) is not before


def test_multi_ke() -> None:
    """The Child SA is there when the additional key exchanges are done, on the responder's side first."""
    net = by_hand(**MULTI_KE)
    west, east = net.sides
    childless(net)
    west.up()
    for last in (False, False, True):
        assert west.children == east.children == []
        east.take()
        assert (NotifyType.ADDITIONAL_KEY_EXCHANGE in notifies(west)) is not last
        west.take()
    assert only_child(east).outbound_spi == only_child(west).inbound_spi
    assert rounds(net) == 2
    assert_one_tunnel(net)


def test_both_open_at_once() -> None:
    """One refuses the other's request for now, which then is of no use any more."""
    net = by_hand()
    west, east = net.sides
    childless(net)
    west.up()
    east.up()
    net.release()
    assert_one_tunnel(net)
