"""Protected messages that are not as they should be: counted, and nothing changes."""

from __future__ import annotations

import pytest

from ikeclone.ike.channel import Channel
from ikeclone.ike.host import Settings
from ikeclone.numbers import ExchangeType, NotifyType, PayloadType
from ikeclone.wire.message import Header, build_message, build_payloads, parse_message
from ikeclone.wire.payloads import Notify, Payload
from tests.pair.network import Network
from tests.pair.scenario import assert_one_tunnel, by_hand, ike_sa
from tests.pair.test_strays import TO_EAST, sealed

CONTENT: tuple[Payload, ...] = (Notify(NotifyType.INITIAL_CONTACT),)


def fragment(net: Network, message_id: int, number: int, total: int, part: bytes = b"") -> bytes:
    """A fragment of a request of west's."""
    sa = ike_sa(net.west)
    header = Header(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, message_id, True, False)
    first = PayloadType.NOTIFY if number == 1 else PayloadType.NONE
    return sa.channel._protection._datagram(header, first, part, (number, total))


def opened(channel: Channel, datagram: bytes) -> bytes | None:
    found = channel.open(parse_message(datagram), datagram)
    return None if found is None else found[1]


@pytest.mark.parametrize(("number", "total", "reason"), [(3, 2, "invalid_syntax"), (1, 65, "bad fragment")])
def test_fragments_whose_numbers_make_no_sense(number: int, total: int, reason: str) -> None:
    net = by_hand()
    net.east.endpoint.receive(fragment(net, ike_sa(net.west).requests.next_id, number, total), TO_EAST, net.now)
    assert net.east.endpoint.counters == {reason: 1}
    assert_one_tunnel(net)


def test_of_unfinished_messages_the_oldest_is_forgotten() -> None:
    """With a window of one, two messages are kept: a request and a response."""
    net = by_hand()
    channel = ike_sa(net.east).channel
    _, whole = build_payloads(CONTENT)
    for message_id in (10, 11, 12):
        assert opened(channel, fragment(net, message_id, 1, 2, whole[:4])) is None
    assert opened(channel, fragment(net, 10, 2, 2, whole[4:])) is None
    assert opened(channel, fragment(net, 12, 2, 2, whole[4:])) == whole


def test_what_only_looks_like_a_repeated_request_is_not_answered() -> None:
    net = by_hand()
    sa, east = ike_sa(net.west), net.east
    request = sealed(net, (), sa.requests.next_id)
    east.endpoint.receive(request, TO_EAST, net.now)
    net.settle(east)
    assert len(net.west.inbox) == 1
    header = Header(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, sa.requests.next_id, True, False)
    plain = build_message(header, CONTENT)
    for datagram in (plain, request[:-1] + bytes([request[-1] ^ 1])):
        east.endpoint.receive(datagram, TO_EAST, net.now)
    net.settle(east)
    counters = east.endpoint.counters
    assert (counters["unprotected message"], counters["integrity check failed"]) == (1, 1)
    assert len(net.west.inbox) == 1
    east.endpoint.receive(request, TO_EAST, net.now)
    net.settle(east)
    assert net.west.inbox[0].data == net.west.inbox[1].data


def test_a_repeated_request_in_fragments_is_answered_once() -> None:
    """One answer for all of its fragments (RFC 7383 section 2.6.1)."""
    net = Network(settings=Settings(fragment_size=150)).established().hold()
    net.west.rekey()
    request = tuple(net.east.inbox)
    assert len(request) > 2
    while net.east.inbox:
        net.east.take()
    answer = [datagram.data for datagram in net.west.inbox]
    net.west.inbox.clear()
    for datagram in request:
        net.receive(net.east, datagram)
    assert [datagram.data for datagram in net.west.inbox] == answer


def test_the_keys_of_each_ike_sa_are_told_where_that_is_wanted() -> None:
    net = Network(settings=Settings(key_log=True)).established()
    net.west.rekey(ike=True)
    net.run(5)
    west, east = ([(each.initiator_spi, each.keys) for each in side.keyed] for side in net.sides)
    assert west == east
    assert len(west) == 2


def test_fragments_of_a_peer_that_is_sent_none() -> None:
    """It may take none, or we may not want any, and yet it sends some: they set no limit."""
    net = by_hand(fragmentation=False)
    channel = ike_sa(net.east).channel
    _, whole = build_payloads(CONTENT)
    assert opened(channel, fragment(net, 10, 1, 2, whole[:4])) is None
    assert opened(channel, fragment(net, 10, 2, 2, whole[4:])) == whole
    assert channel.limit is None
