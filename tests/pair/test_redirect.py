"""Gateways that send a peer to another one. West is the client; east, south and north are gateways of one name."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from ikeclone.connection import Childless, Choice, Pool, Redirection
from ikeclone.credentials import Credentials
from ikeclone.errors import InvalidSyntax, LocalError, NoAdditionalSas
from ikeclone.ike.actions import Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.redirect import MAX_REDIRECTS, SendAway, gateway, parse_gateway, send_away
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Message, parse_message
from tests.pair.network import EAST, EAST_END, NAME, WEST, WEST_END, Network, Side, connection
from tests.pair.scenario import ike_sa
from tests.pair.test_internal_addresses import ANYONE, address, held, road, traffic, up
from tests.pair.test_internal_addresses import KEY as WARRIORS
from tests.pair.test_sharing import living

SOUTH, NORTH = "192.1.2.66", "192.1.2.77"
ACCEPT = Redirection(accept=True)


def to(*targets: str, send: Choice = Choice.YES) -> Redirection:
    return Redirection(send=send, to=tuple(ip_address(target) for target in targets))


def globally(*targets: str, send: Choice = Choice.YES, **more: int) -> Settings:
    return Settings(redirection=to(*targets, send=send), **more)  # type: ignore[arg-type]


def gateway_at(net: Network, address: str, settings: Settings | None = None, **changes: object) -> Side:
    """One more gateway, which is east to those who ask who it is."""
    end = replace(EAST_END, address=ip_address(address))
    return net.add(address, connection(end, WEST_END, **changes), settings)


def client(settings: Settings | None = None, redirection: Redirection = ACCEPT, **east: object) -> Network:
    net = Network(west={"redirection": redirection}, east=east)
    if settings is not None:
        net.east.settings = settings
        net.east.start()
    return net


def notify(data: bytes, kind: NotifyType) -> bytes | None:
    found = parse_message(data).notify(kind)
    return None if found is None else found.data


def inits(side: Side) -> list[Message]:
    """A side's requests of IKE_SA_INIT."""
    messages = [parse_message(each.data) for each in side.sent]
    return [m for m in messages if m.header.exchange is ExchangeType.IKE_SA_INIT and not m.header.response]


def at(side: Side) -> str:
    """Where the peer of a side's only IKE SA is."""
    assert living(side) == [State.ESTABLISHED]
    return str(ike_sa(side).path.remote)


def carries(net: Network, there: Side) -> None:
    """Packets of west arrive at this gateway."""
    packet = net.west.backend.transmit(NAME, 0, 84)
    assert packet is not None
    assert there.backend.receive(packet) is not None


def test_before_authentication() -> None:
    """The first gateway keeps nothing; the second one hears who has sent the client."""
    net = client(globally(SOUTH))
    south = gateway_at(net, SOUTH)
    net.west.up()
    net.run(5)
    assert at(net.west) == SOUTH
    carries(net, south)
    assert living(net.east) == []
    first, second = inits(net.west)
    assert first.notify(NotifyType.REDIRECT_SUPPORTED) is not None
    assert first.notify(NotifyType.REDIRECTED_FROM) is None
    came_from = second.notify(NotifyType.REDIRECTED_FROM)
    assert came_from is not None
    assert parse_gateway(came_from.data) == (EAST, b"")
    assert not net.west.kinds(Kind.FAILED)
    assert net.east.endpoint.counters["redirected"] == 1


def test_in_authentication() -> None:
    """The first gateway proves who it is; its IKE SA has no Child SA and goes at once."""
    net = client(redirection=ACCEPT)
    tunnel = net.east.endpoint.tunnels[NAME]
    tunnel.connection = replace(tunnel.connection, redirection=to(SOUTH))
    south = gateway_at(net, SOUTH)
    net.west.up()
    net.run(5)
    assert at(net.west) == SOUTH
    carries(net, south)
    assert living(net.east) == []
    assert not net.west.kinds(Kind.FAILED) + net.east.kinds(Kind.FAILED, Kind.CHILD_UP)
    net.run(100)
    assert not net.east.backend.reserved
    assert not net.west.backend.reserved


def test_after_authentication() -> None:
    """An established tunnel moves with its clones, and nothing is lost meanwhile."""
    net = client()
    south = gateway_at(net, SOUTH)
    net.established()
    for cpu in (0, 1):
        net.west.packet(cpu)
    net.run(3)
    assert len(net.west.children) == 3
    send_away(net.east.endpoint.tunnels[NAME], ip_address(SOUTH), net.now)
    net.settle(net.east)
    net.run(10)
    assert at(net.west) == SOUTH
    assert len(net.west.children) == len(south.children) == 3
    carries(net, south)
    assert living(net.east) == []
    assert net.east.children == []


def between_two(childless: Childless = Childless.ALLOW) -> tuple[Network, Side]:
    """A road warrior that is up, and the other gateway, which has addresses of its own."""
    net = road(childless=childless)
    net.west.conn = replace(net.west.conn, redirection=ACCEPT, childless=childless)
    net.west.start()
    net.west.endpoint.credentials = WARRIORS
    pool = Pool(ip_address("10.4.0.1"), ip_address("10.4.0.9"))
    south = gateway_at(net, SOUTH, childless=childless)
    south.conn = replace(south.conn, remote=replace(ANYONE, selectors=(pool.selector,), pools=(pool,)))
    south.start()
    south.endpoint.credentials = WARRIORS
    up(net.west)
    return net, south


def send_all_away(side: Side, target: str) -> None:
    (instance,) = side.endpoint.named(NAME)
    send_away(instance, ip_address(target), side.network.now)
    side.network.settle(side)


def test_a_road_warrior_has_another_address_at_another_gateway() -> None:
    """All that it sends is that one's from then on; the first gateway has its own back."""
    net, south = between_two()
    send_all_away(net.east, SOUTH)
    net.run(40)
    assert at(net.west) == SOUTH
    assert address(net.west) == ["10.4.0.1"]
    assert traffic(net.west) == [(["10.4.0.1/32"], ["192.0.2.0/24"])]
    assert held(net) == {}
    assert list(net.west.endpoint.tunnels) == [NAME]
    carries(net, south)


def test_nor_has_it_a_part_for_the_former_one_that_is_rekeyed_meanwhile() -> None:
    """The first gateway rekeys its Child SA when there is none yet at the other one."""
    net, south = between_two(Childless.PREFER)
    first = ike_sa(net.west).spi_i
    net.link.drop = lambda data: (
        (each := parse_message(data).header).exchange is ExchangeType.CREATE_CHILD_SA and each.initiator_spi != first
    )
    send_all_away(net.east, SOUTH)
    net.run(1)
    net.east.rekey()
    net.run(1)
    net.link.drop = lambda data: False
    net.run(60)
    assert at(net.west) == SOUTH
    assert traffic(net.west) == [(["10.4.0.1/32"], ["192.0.2.0/24"])]
    assert list(net.west.endpoint.tunnels) == [NAME]
    carries(net, south)


def test_the_one_that_is_busy_only() -> None:
    net = client(globally(SOUTH, send=Choice.AUTO, cookie_threshold=1))
    gateway_at(net, SOUTH)
    net.west.up()
    net.run(5)
    assert at(net.west) == str(EAST)
    net.west.down()
    net.run(5)
    other = net.add("192.1.2.88", connection(replace(WEST_END, address=ip_address("192.1.2.88")), EAST_END))
    net.east.endpoint.tunnels[NAME].connection = replace(net.east.conn, remote=replace(WEST_END, address=None))
    net.link.drop = lambda data: parse_message(data).header.exchange is ExchangeType.IKE_AUTH
    other.up()
    net.run(0.1)
    net.link.drop = lambda data: False
    net.west.up()
    net.run(5)
    assert at(net.west) == SOUTH


@pytest.mark.parametrize("ways", [Redirection(), Redirection(accept_to=(ip_address(SOUTH),))])
def test_a_client_that_does_not_ask_for_it_stays(ways: Redirection) -> None:
    net = client(globally(SOUTH), ways)
    net.established()
    assert at(net.west) == str(EAST)
    with pytest.raises(LocalError, match="accept-redirect=yes"):
        send_away(net.east.endpoint.tunnels[NAME], ip_address(SOUTH), net.now)


@pytest.mark.parametrize("target", [SOUTH, str(WEST), "224.0.0.1"])
def test_where_it_does_not_go(target: str) -> None:
    """An address that accept-redirect-to= does not name, or where no gateway can be."""
    allowed = (ip_address(NORTH if target == SOUTH else target),)
    net = client(globally(target), Redirection(accept=True, accept_to=allowed))
    net.west.up()
    net.run(1)
    assert f"to {target}" in net.west.kinds(Kind.FAILED)[0].text
    assert len(inits(net.west)) == 1


def test_nobody_is_sent_to_another_version_of_ip_or_to_where_it_is() -> None:
    net = client(globally("2001:db8::7", str(EAST)))
    net.established()
    assert at(net.west) == str(EAST)


def test_a_response_without_our_nonce_means_nothing() -> None:
    net = client(globally(SOUTH)).hold()
    net.west.up()
    net.east.take()
    forged = net.west.inbox.popleft()
    nonce = notify(forged.data, NotifyType.REDIRECT)
    assert nonce is not None
    data = forged.data.replace(nonce[6:], bytes(len(nonce) - 6))
    net.west.inbox.append(replace(forged, data=data))
    net.west.take()
    assert net.west.endpoint.counters["redirect without our nonce"] == 1
    net.east.endpoint.host.settings = Settings()
    net.release()
    net.run(5)
    assert at(net.west) == str(EAST)


def test_two_gateways_that_send_it_to_each_other() -> None:
    """It gives up after five times, and tries again in a while, where it began."""
    net = client(globally(SOUTH, NORTH))
    for each, others in ((SOUTH, (NORTH, str(EAST))), (NORTH, (str(EAST), SOUTH))):
        gateway_at(net, each, globally(*others))
    net.west.up()
    net.run(5)
    assert "redirected 5 times in 300 seconds" in net.west.kinds(Kind.FAILED)[0].text
    assert len(inits(net.west)) == 1 + MAX_REDIRECTS
    assert net.west.endpoint.tunnels[NAME].redirects.gateway is None


def test_nobody_is_sent_back_where_it_came_from() -> None:
    net = client(globally(SOUTH))
    gateway_at(net, SOUTH, globally(str(EAST)))
    net.west.up()
    net.run(5)
    assert at(net.west) == SOUTH


def test_a_gateway_that_is_not_there() -> None:
    """It goes back to the one that it knows, and is redirected again no more than may be."""
    net = client(globally("192.1.2.99"))
    tunnel = net.west.endpoint.tunnels[NAME]
    tunnel.wanted = True
    net.west.up()
    net.run_until(lambda: tunnel.redirects.gateway is not None)
    net.link.cut = True
    net.run_until(lambda: bool(net.west.kinds(Kind.FAILED)))
    assert tunnel.redirects.gateway is None
    net.link.cut = False
    net.east.endpoint.host.settings = Settings()
    net.run(60)
    assert at(net.west) == str(EAST)


def test_a_redirect_to_a_gateway_that_is_not_there_leaves_the_tunnel_as_it_is() -> None:
    net = client().established()
    send_away(net.east.endpoint.tunnels[NAME], ip_address(SOUTH), net.now)
    net.link.drop = lambda data: parse_message(data).header.exchange is ExchangeType.IKE_SA_INIT
    net.settle(net.east)
    net.run(30)
    assert at(net.west) == str(EAST)
    assert len(net.west.children) == 1
    net.run(60)
    assert living(net.east) == []


def test_an_established_peer_stays_where_it_is_when_it_is_sent_to_nowhere() -> None:
    net = client().established()
    send_away(net.east.endpoint.tunnels[NAME], ip_address("224.0.0.1"), net.now)
    net.settle(net.east)
    net.run(5)
    assert "where no gateway can be" in net.west.kinds(Kind.FAILED)[-1].text
    assert at(net.west) == str(EAST)


def test_a_peer_that_refuses_to_go_keeps_its_ike_sa(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NoAdditionalSas

    net = client().established()
    monkeypatch.setattr(SendAway, "response", refuse)
    send_away(net.east.endpoint.tunnels[NAME], ip_address(SOUTH), net.now)
    net.settle(net.east)
    net.run(0.015)
    net.run(1)
    assert f"does not go to {SOUTH}: NO_ADDITIONAL_SAS" in net.east.kinds(Kind.FAILED)[-1].text


def test_nobody_is_sent_away_from_a_connection_that_is_down() -> None:
    with pytest.raises(LocalError, match=f"{NAME} is not up: there is nobody to redirect"):
        send_away(client().east.endpoint.tunnels[NAME], ip_address(SOUTH), 0.0)


@pytest.mark.parametrize("lowest", ["west", "east"])
def test_one_that_both_authenticate_anew_while_it_is_sent_away_is_with_one_gateway(lowest: str) -> None:
    """The client's IKE SA with the other gateway crosses the first one's, which knows nothing of it."""
    net = client()
    south = gateway_at(net, SOUTH)
    net.established()
    net.east.endpoint.host.settings = globally(SOUTH)
    for name, side in (("west", net.west), ("east", net.east)):
        side.first_octet = 0x00 if name == lowest else 0xFF
    net.west.rekey(reauth=True)
    net.run(0.02)
    net.east.rekey(reauth=True)
    net.run(60)
    there = south if at(net.west) == SOUTH else net.east
    assert {len(living(each)) for each in (south, net.east)} == {0, 1}
    carries(net, there)


def test_one_that_cannot_ask_the_other_gateway_says_why() -> None:
    """The secrets were read anew meanwhile, and the one for this peer is gone."""
    net = client(globally(SOUTH)).hold()
    net.west.up()
    net.east.take()
    net.west.endpoint.credentials = Credentials(())
    net.west.take()
    assert "no preshared key for @west and @east" in net.west.kinds(Kind.FAILED)[-1].text
    assert net.west.endpoint.tunnels[NAME].approach.initiation is None
    assert net.west.endpoint.host.timers.owners() == ()


def test_who_does_not_leave_is_shown_the_door() -> None:
    """A peer that asks for something else on the IKE SA that was redirected, or for nothing, loses it."""
    net = client()
    tunnel = net.east.endpoint.tunnels[NAME]
    tunnel.connection = replace(tunnel.connection, redirection=to(SOUTH))
    net.west.endpoint.tunnels[NAME].redirects.in_auth = lambda *_: False  # type: ignore[method-assign]
    net.west.up()
    net.run(200)
    assert living(net.east) == []
    assert net.east.children == []


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x04\x01\x02", b"\x02\x04abcd", b"\x09\x04abcd", b"\x03\x03abc"])
def test_out_of_shape(data: bytes) -> None:
    with pytest.raises(InvalidSyntax):
        parse_gateway(data)


@pytest.mark.parametrize("address", [SOUTH, "2001:db8::7"])
def test_there_and_back(address: str) -> None:
    assert parse_gateway(gateway(ip_address(address)) + b"rest") == (ip_address(address), b"rest")
