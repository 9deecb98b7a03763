"""Sequence numbers of ESP that are left out for a cluster that has failed over (RFC 6311). East is the cluster."""

from __future__ import annotations

import pytest

from ikeclone.backend import Path
from ikeclone.crypto.registry import parse_esp
from ikeclone.ike.actions import Datagram
from ikeclone.ike.exchange import Exchange, Payloads
from ikeclone.ike.informational import Liveness
from ikeclone.ike.sa import IkeSa
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Header, Message
from ikeclone.wire.payloads import Notify
from tests.pair.groups import ask, traffic
from tests.pair.network import Network
from tests.pair.scenario import assert_one_tunnel, by_hand, ike_sa, only_child
from tests.pair.test_scenario_ike_mid_sync import NONCE, SYNC, answer, both_work, go_on

MEANWHILE = 1 << 24
ESN = parse_esp("aes_gcm256-esn")


class Synchronise(Liveness):
    """What the cluster asks for in an exchange with a message ID as usual."""

    def __init__(self, sa: IkeSa, data: bytes) -> None:
        super().__init__(sa)
        self._data = data

    def request(self, now: float) -> Payloads:
        return (Notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC, self._data),)


def synchronise(net: Network, data: bytes) -> Message:
    """The cluster asks, west answers; the answer."""
    exchange: Exchange = Synchronise(ike_sa(net.east), data)
    ask(net.east, exchange)
    net.west.take()
    said = net.east.read()
    net.east.take()
    return said


def both_counters(net: Network, start: int, data: bytes) -> Datagram:
    """The cluster's request to synchronise both, message IDs from `start` on, on its way to west."""
    sa = ike_sa(net.east)
    header = Header(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, 0, sa.initiator, False)
    ids = Notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, SYNC.pack(NONCE, start, 2))
    (datagram,) = sa.seal(header, (ids, Notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC, data)))
    net.west.inbox.append(Datagram(datagram, Path(sa.path.local, sa.path.remote)))
    return net.west.inbox[0]


@pytest.mark.parametrize("esn", [False, True])
def test_alone(esn: bool) -> None:
    net = by_hand(esp=ESN) if esn else by_hand()
    assert only_child(net.west).agreement.suite.esn is esn
    said = synchronise(net, (5000).to_bytes(8 if esn else 4, "big"))
    assert said.payloads == ()
    assert net.west.backend.skipped == {only_child(net.west).inbound_spi: 5000 + MEANWHILE}
    assert net.east.backend.skipped == {}
    assert_one_tunnel(net)


def test_every_child_sa() -> None:
    net = Network().established()
    traffic(net)
    net.run(5)
    assert len(net.west.children) > 2
    net.hold()
    synchronise(net, (7).to_bytes(4, "big"))
    assert net.west.backend.skipped == dict.fromkeys((c.inbound_spi for c in net.west.children), 7 + MEANWHILE)


def test_together_with_message_ids() -> None:
    net = by_hand()
    again = both_counters(net, 3, (9).to_bytes(4, "big"))
    spi = only_child(net.west).inbound_spi
    net.west.take()
    assert answer(net) == (2, 3)
    assert net.east.read().notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC) is None
    assert net.west.backend.skipped == {spi: 9 + MEANWHILE}
    go_on(net)
    both_work(net)
    net.west.inbox.append(again)
    net.west.take()
    assert net.west.backend.skipped == {spi: 9 + MEANWHILE}


@pytest.mark.parametrize("data", [b"", bytes(3), bytes(5), bytes(9)])
def test_out_of_shape(data: bytes) -> None:
    net = by_hand()
    synchronise(net, data)
    assert net.west.backend.skipped == {}
    assert net.west.endpoint.counters["unexpected replay counter synchronisation"] == 1
    assert_one_tunnel(net)


def test_not_agreed_on() -> None:
    """A peer that has not said in IKE_AUTH that it knows of it may not ask for it."""
    net = by_hand()
    ike_sa(net.west).ids.counters_agreed = False
    synchronise(net, (5).to_bytes(4, "big"))
    assert net.west.backend.skipped == {}


def test_the_successor_of_an_ike_sa_knows_of_it() -> None:
    net = by_hand()
    net.release()
    net.west.rekey(ike=True)
    net.run(5)
    net.hold()
    synchronise(net, (5).to_bytes(4, "big"))
    assert len(net.west.backend.skipped) == 1


@pytest.mark.parametrize(("count", "skips"), [(1 << 30, True), (1 << 31, False), ((1 << 32) - 1, False)])
def test_few_numbers_left(count: int, skips: bool) -> None:
    """When that would leave few, or more are to be left out than there are, the Child SA is rekeyed."""
    net = by_hand()
    before = only_child(net.west)
    synchronise(net, count.to_bytes(4, "big"))
    assert bool(net.west.backend.skipped) is skips
    net.release()
    net.run(5)
    assert only_child(net.west) is not before
    assert net.west.backend.skipped == {}
    assert_one_tunnel(net)


def test_with_extended_numbers_there_are_more() -> None:
    """But a receiver cannot follow every leap, as it sees the lower half only: that of a new Child SA it can."""
    net = by_hand(esp=ESN)
    before = only_child(net.west)
    synchronise(net, (1 << 40).to_bytes(8, "big"))
    assert net.west.backend.skipped == {before.inbound_spi: (1 << 40) + MEANWHILE}
    net.release()
    net.run(5)
    assert only_child(net.west) is not before
    assert_one_tunnel(net)


def test_an_sa_that_shall_not_be_rekeyed_is_not() -> None:
    net = by_hand(rekey=False)
    before = only_child(net.west)
    synchronise(net, (1 << 30).to_bytes(4, "big"))
    net.release()
    net.run(5)
    assert only_child(net.west) is before
    assert len(net.west.backend.skipped) == 1
