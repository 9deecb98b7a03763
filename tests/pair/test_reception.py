"""What strangers get for their first request, and what they cost: no more than is given back."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from ikeclone.ike.actions import Datagram
from ikeclone.ike.host import Settings
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Header, build_message, parse_message
from ikeclone.wire.payloads import Notify
from tests.pair.network import Network, Side
from tests.pair.scenario import ike_sa

INIT = ExchangeType.IKE_SA_INIT


def asking(settings: Settings | None = None) -> tuple[Network, Datagram]:
    """A network on which west asks for an IKE SA, and its request, which east has not seen yet."""
    net = Network(settings=settings).hold()
    net.west.up()
    return net, net.east.inbox.popleft()


def rewritten(request: Datagram, header: Header, without: int = 0) -> Datagram:
    """The request with another header, and less of its last payloads."""
    payloads = parse_message(request.data).payloads
    return Datagram(build_message(header, payloads[: len(payloads) - without]), request.path)


def answers(net: Network, request: Datagram) -> list[bytes]:
    """What east answers."""
    net.west.inbox.clear()
    net.receive(net.east, request)
    return [answer.data for answer in net.west.inbox]


def half_open(side: Side) -> int:
    return len(list(side.endpoint.ike_sas()))


@pytest.mark.parametrize(
    ("spi_r", "message_id", "initiator"), [(b"\1" * 8, 0, True), (bytes(8), 1, True), (bytes(8), 0, False)]
)
def test_a_header_that_no_first_request_has(spi_r: bytes, message_id: int, initiator: bool) -> None:
    net, request = asking()
    header = Header(request.data[:8], spi_r, INIT, message_id, initiator, False)
    assert answers(net, rewritten(request, header)) == []
    assert net.east.endpoint.counters == {"bad ike_sa_init header": 1}
    assert half_open(net.east) == 0


def test_a_request_that_lacks_a_payload_is_not_answered() -> None:
    """INVALID_SYNTAX is for who is authenticated (RFC 7296 section 2.21.1)."""
    net, request = asking()
    message = parse_message(request.data)
    assert answers(net, rewritten(request, message.header, len(message.payloads) - 1)) == []
    assert net.east.endpoint.counters == {"ike_sa_init refused: invalid_syntax": 1}


def test_who_comes_from_where_no_connection_leads_is_refused() -> None:
    net, request = asking()
    stranger = replace(request, path=replace(request.path, local=ip_address("198.51.100.9")))
    (answer,) = answers(net, stranger)
    assert [notify.type for notify in parse_message(answer).all(Notify)] == [NotifyType.NO_PROPOSAL_CHOSEN]
    assert half_open(net.east) == 0


def test_a_repeated_request_gets_the_same_octets_for_a_while() -> None:
    """As long as the peer may repeat it; whoever plays it back later gets an answer, which is of no use to him."""
    net, request = asking()
    (first,) = answers(net, request)
    assert answers(net, request) == [first]
    net.receive(net.west, net.west.inbox.popleft())
    net.release()
    net.run(5)
    sa = ike_sa(net.east)
    net.hold()
    assert answers(net, request) == [first]
    net.run(30)
    (later,) = answers(net, request)
    assert later != first
    assert ike_sa(net.east) is sa
    net.run(31)
    net.release()
    net.assert_consistent()
    assert len(net.east.children) == half_open(net.east) == 1


def test_another_request_with_the_same_spi_is_not_answered() -> None:
    net, request = asking()
    assert len(answers(net, request)) == 1
    assert answers(net, rewritten(request, parse_message(request.data).header, 1)) == []
    assert net.east.endpoint.counters == {"ike_sa_init with a used spi": 1}
    assert half_open(net.east) == 1


def test_who_does_not_go_on_gives_his_place_back() -> None:
    """He may ask again, with the same request too."""
    net, request = asking(Settings(half_open_limit=1))
    (first,) = answers(net, request)
    net.run(29)
    other = Datagram(b"\7" * 8 + request.data[8:], request.path)
    assert answers(net, other) == []
    assert net.east.endpoint.counters["too many half-open ike sas"] == 1
    net.run(2)
    assert half_open(net.east) == 0
    (again,) = answers(net, request)
    assert again != first


def test_who_goes_on_gives_his_place_back() -> None:
    net = Network(settings=Settings(half_open_limit=1)).established()
    for _ in range(3):
        net.west.rekey(reauth=True)
        net.run(10)
    assert "too many half-open ike sas" not in net.east.endpoint.counters
    net.assert_consistent()
