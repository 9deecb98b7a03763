"""What a peer may offer and we do not do is ignored: AGGFRAG (RFC 9347), TFC padding, statuses that nobody knows."""

from __future__ import annotations

import pytest

from ikeclone.backend import Mode
from ikeclone.ike import negotiation
from ikeclone.ike.exchange import Payloads
from ikeclone.numbers import NotifyType
from ikeclone.wire.payloads import Notify
from tests.pair.groups import ForeignChild, ask
from tests.pair.network import Network
from tests.pair.scenario import assert_carries, assert_one_tunnel, by_hand, ike_sa, notifies

AGGFRAG = Notify(NotifyType.USE_AGGFRAG, b"\x00")
NO_TFC = Notify(NotifyType.ESP_TFC_PADDING_NOT_SUPPORTED)
UNKNOWN = Notify(NotifyType(40969), b"whatever")
OFFERS = (AGGFRAG, NO_TFC, UNKNOWN)


class Offer(ForeignChild):
    """A request for a Child SA that offers all of these."""

    def request(self, now: float) -> Payloads:
        return (*super().request(now), *OFFERS)


def test_a_request_that_offers_them() -> None:
    """The Child SA is made, and the answer agrees to nothing that we do not do."""
    net = by_hand()
    ask(net.west, Offer(ike_sa(net.west), None, None))
    assert {offer.type for offer in OFFERS} <= notifies(net.east)
    net.east.take()
    assert notifies(net.west) == set()
    net.west.take()
    assert [len(side.children) for side in net.sides] == [2, 2]
    net.release()
    net.assert_consistent()
    assert_carries(net)


def test_both_sides_say_them_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """In IKE_AUTH, in new Child SAs and in rekeys, in requests and in answers."""
    of_ours = negotiation._notifies

    def all_of_them(mode: Mode, resource: bytes | None) -> tuple[Notify, ...]:
        return (*of_ours(mode, resource), *OFFERS)

    monkeypatch.setattr(negotiation, "_notifies", all_of_them)
    net = Network(west={"clones": 0}, east={"clones": 0}).established().hold()
    net.west.rekey()
    net.east.take()
    assert notifies(net.west) == {offer.type for offer in OFFERS}
    assert_one_tunnel(net)
