"""A way that takes small datagrams only, and no IP fragments: IKE has smaller fragments (RFC 7383 section 2.5.2)."""

from __future__ import annotations

import pytest

from ikeclone.connection import Timing
from ikeclone.crypto.registry import parse_esp, parse_ike
from ikeclone.ike.actions import Kind
from ikeclone.ike.channel import NARROW
from ikeclone.ike.host import Settings
from tests.pair.network import ESP, IKE, Network, Side
from tests.pair.scenario import ike_sa

BOTH = {"ike": parse_ike(f"{IKE}-ke1_mlkem768"), "esp": parse_esp(f"{ESP}-dh31-ke1_mlkem768"), "clones": 0}


@pytest.fixture
def net() -> Network:
    return Network(west=BOTH, east=BOTH)


def too_large(data: bytes) -> bool:
    return len(data) > NARROW


def sent_again(net: Network) -> int:
    return sum("retransmission" in report.text for side in net.sides for report in side.kinds(Kind.PROGRESS))


def limits(net: Network) -> list[int | None]:
    """The sizes of fragments that both sides keep to."""
    return [ike_sa(side).channel.limit for side in net.sides]


def test_both_ends_get_through_and_remember(net: Network, roles: tuple[Side, Side]) -> None:
    """The initiator finds out, the responder sees it by what it gets, and the next IKE SA begins with what is known."""
    net.link.drop = too_large
    us, peer = roles
    us.up()
    net.run(5)
    net.assert_consistent()
    assert sent_again(net) == 2
    for side in (us, peer):
        for ike in (True, False):
            side.rekey(ike=ike)
            net.run(1)
            assert limits(net) == [NARROW, NARROW]
    assert sent_again(net) == 2
    assert [len(side.kinds(Kind.IKE_REKEYED)) for side in net.sides] == [2, 2]
    net.assert_consistent()


def test_a_request_that_was_whole_is_cut_as_it_was() -> None:
    """IKE_AUTH, here with many proposals, says once how many requests we take."""
    both = {"esp": parse_esp(",".join([ESP] * 20)), "clones": 0}
    net = Network(west=both, east=both)
    net.link.drop = too_large
    net.west.up()
    net.run(5)
    assert sent_again(net) == 2
    assert limits(net) == [NARROW, NARROW]
    assert [ike_sa(side).requests.size for side in net.sides] == [Settings().window] * 2
    net.assert_consistent()


def test_a_wide_way_stays_wide(net: Network) -> None:
    """What is lost now and then is no sign of a narrow way, nor is what is small."""
    net.established()
    wide = limits(net)
    net.link.cut = True
    net.west.rekey()
    net.run(0.3)
    net.link.cut = False
    net.run(5)
    assert sent_again(net) == 1
    assert limits(net) == wide


@pytest.mark.parametrize("changes", [{"fragmentation": False}, {"timing": Timing(dpd_delay=1.0)}])
def test_nothing_is_cut_that_is_small_or_may_not_be(changes: dict[str, object]) -> None:
    net = Network(west={**BOTH, **changes}, east={**BOTH, **changes}).established()
    wide = limits(net)
    net.link.cut = True
    if "fragmentation" in changes:
        net.west.rekey()
    net.run(10)
    assert sent_again(net) > 2
    assert limits(net) == wide
