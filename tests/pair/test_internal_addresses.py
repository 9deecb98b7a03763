"""Addresses inside the tunnel by configuration payloads: a gateway with a pool, and road warriors (RFC 7296, 2.19)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from ikeclone.connection import Auto, Childless, End, Identity, Pool, Secret, Timing
from ikeclone.credentials import Credentials
from ikeclone.errors import LocalError
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.host import Settings
from ikeclone.ike.informational import Liveness
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import CfgAttributeType, CfgType, NotifyType
from ikeclone.reports import View
from ikeclone.selectors import IPAddress, TrafficSelector
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import CfgAttribute, Configuration, Notify, Sa, TsI
from tests.pair.certified import told
from tests.pair.network import EAST_END, NAME, WEST, WEST_END, Network, Side, connection

KEY = Credentials((Secret((), b"a secret of all road warriors"),))
POOL = Pool(ip_address("10.3.0.1"), ip_address("10.3.0.2"))
POOL6 = Pool(ip_address("2001:db8:3::1"), ip_address("2001:db8:3::ffff"))
ANYONE = End(None, None, (POOL.selector,), asks=True, pools=(POOL,))
ASKING = replace(WEST_END, selectors=(), asks=True)
DNS, DOMAINS = (ip_address("192.0.2.53"),), ("example.org",)
TIMING = Timing(margin=60)


def road(settings: Settings | None = None, **east: object) -> Network:
    """East has a pool, west asks for an address."""
    net = Network(
        east={"remote": ANYONE, "dns": DNS, "domains": DOMAINS, "timing": TIMING, **east},
        west={"local": ASKING, "timing": TIMING},
        settings=settings,
    )
    for side in net.sides:
        side.endpoint.credentials = side.credentials = KEY
    return net


def up(*sides: Side) -> None:
    for side in sides:
        side.up()
        side.network.run(2)


def warrior(net: Network, number: int, wanted: IPAddress | None = None) -> Side:
    """One more host that asks east for an address."""
    end = replace(ASKING, identity=Identity.parse(f"@host{number}"), source=wanted)
    side = net.add(
        f"198.51.100.{number}", connection(replace(end, address=ip_address(f"198.51.100.{number}")), EAST_END)
    )
    side.endpoint.credentials = side.credentials = KEY
    return side


def address(side: Side) -> list[str]:
    """What the data plane of a side was told to have."""
    return [str(each) for policy in side.backend.policies.values() for each in policy.addresses]


def held(net: Network, pool: Pool = POOL) -> dict[str, str]:
    return {str(address): str(peer) for address, peer in net.east.endpoint.host.pools[pool].held.items()}


def traffic(side: Side) -> list[tuple[list[str], list[str]]]:
    """The selectors of a side's Child SAs, ours and the peer's."""
    agreed = side.backend.installed.values()
    return [([str(each) for each in sa.local], [str(each) for each in sa.remote]) for sa in agreed]


def test_the_gateway_leases_an_address_and_tells_of_name_servers() -> None:
    net = road()
    up(net.west)
    assert traffic(net.west) == [(["10.3.0.1/32"], ["192.0.2.0/24"])]
    assert traffic(net.east) == [(["192.0.2.0/24"], ["10.3.0.1/32"])]
    assert (address(net.west), address(net.east)) == (["10.3.0.1"], [])
    (policy,) = net.west.backend.policies.values()
    assert str(policy.source_for(4)) == "10.3.0.1"
    irac = net.west.endpoint.tunnel(NAME).irac
    assert (irac.dns, irac.domains) == (DNS, DOMAINS)
    assert "the address 10.3.0.1, name servers 192.0.2.53 for example.org" in told(net.west)
    assert held(net) == {"10.3.0.1": "@west"}
    net.assert_consistent()


def test_name_servers_and_domains_that_would_be_something_else_to_a_resolver_are_left_out() -> None:
    servers = ("127.0.0.1", "0.0.0.0", "224.0.0.251", "fe80::1", "::1", "192.0.2.53", "2001:db8::53")  # noqa: S104
    wrong = (
        "-h",
        "--set-dns=192.0.2.1",
        "a.-b",
        "..",
        "/etc",
        "a b",
        "a\nnameserver",
        "~.",
        "x" * 64,
        "a." * 127 + "a",
    )
    right = ("example.org", "_tcp.lab", "dot.")
    net = road(dns=tuple(ip_address(each) for each in servers), domains=(*wrong, *right))
    up(net.west)
    irac = net.west.endpoint.tunnel(NAME).irac
    assert [str(each) for each in irac.dns] == ["192.0.2.53", "2001:db8::53"]
    assert irac.domains == right


def test_the_payloads_on_the_wire() -> None:
    net = road().hold()
    net.west.up()
    net.east.take()
    net.west.take()
    request = net.east.read()
    assert request.require(Configuration) == Configuration(
        CfgType.REQUEST,
        (
            CfgAttribute(CfgAttributeType.INTERNAL_IP4_ADDRESS),
            CfgAttribute(CfgAttributeType.INTERNAL_IP4_DNS),
            CfgAttribute(CfgAttributeType.INTERNAL_DNS_DOMAIN),
        ),
    )
    assert [str(each) for each in request.require(TsI).selectors] == ["0.0.0.0/0"]
    net.east.take()
    reply = net.west.read()
    assert reply.require(Configuration) == Configuration(
        CfgType.REPLY,
        (
            CfgAttribute(CfgAttributeType.INTERNAL_IP4_ADDRESS, bytes([10, 3, 0, 1])),
            CfgAttribute(CfgAttributeType.INTERNAL_IP4_DNS, bytes([192, 0, 2, 53])),
            CfgAttribute(CfgAttributeType.INTERNAL_DNS_DOMAIN, b"example.org"),
        ),
    )
    assert [str(each) for each in reply.require(TsI).selectors] == ["10.3.0.1/32"]


def test_each_peer_has_its_own_and_the_pool_has_an_end() -> None:
    net = road()
    second, third = warrior(net, 7), warrior(net, 8)
    up(net.west, second, third)
    assert held(net) == {"10.3.0.1": "@west", "10.3.0.2": "@host7"}
    assert "INTERNAL_ADDRESS_FAILURE" in told(third)
    assert "all 2 addresses of 10.3.0.1-10.3.0.2 are leased" in told(net.east)
    assert not third.backend.installed
    net.west.down()
    net.run(2)
    up(third)
    assert held(net) == {"10.3.0.2": "@host7", "10.3.0.1": "@host8"}


@pytest.mark.parametrize("how", ["ike", "child", "reauth"])
def test_rekeys_and_reauthentication_leave_it(how: str) -> None:
    for side_name in ("west", "east"):
        net = road()
        up(net.west)
        side = getattr(net, side_name)
        if how == "reauth" and side is net.east:
            continue
        side.rekey(ike=how == "ike", reauth=how == "reauth")
        net.run(40)
        assert (address(net.west), held(net)) == (["10.3.0.1"], {"10.3.0.1": "@west"})
        assert traffic(net.west) == [(["10.3.0.1/32"], ["192.0.2.0/24"])]
        net.assert_consistent()


def test_with_uniqueids_no_it_is_kept_by_a_host_that_authenticates_anew() -> None:
    """Another host of that name has another one, and so has the same from elsewhere."""
    net = road(Settings(uniqueids=False))
    second = warrior(net, 7)
    second.endpoint.tunnel(NAME).connection = replace(
        second.conn, local=replace(second.conn.local, identity=WEST_END.identity)
    )
    up(net.west, second)
    before = net.west.ike
    for _ in range(2):
        net.west.rekey(reauth=True)
        net.run(40)
    assert net.west.ike is not before
    assert (address(net.west), held(net)) == (["10.3.0.1"], {"10.3.0.1": "@west", "10.3.0.2": "@west"})
    assert len(net.east.endpoint.named(NAME)) == 2
    assert [sa.state for sa in net.east.endpoint.ike_sas() if sa.state is not State.DEAD] == [State.ESTABLISHED] * 2
    net.west.down()
    second.down()
    net.run(60)
    assert held(net) == {}
    assert not net.east.endpoint.tunnel(NAME).instances._of


def test_it_ends_with_the_connection_and_is_had_again() -> None:
    net = road()
    second = warrior(net, 7)
    up(net.west, second)
    net.west.down()
    net.run(60)
    assert (address(net.west), held(net)) == ([], {"10.3.0.2": "@host7"})
    assert net.west.endpoint.tunnel(NAME).connection.local.selectors == ()
    second.down()
    net.run(60)
    up(net.west, second)
    assert held(net) == {"10.3.0.1": "@west", "10.3.0.2": "@host7"}


def test_a_peer_that_starts_anew_has_its_former_one() -> None:
    net = road()
    up(net.west, warrior(net, 7))
    net.west.start()
    net.west.endpoint.credentials = KEY
    up(net.west)
    assert held(net) == {"10.3.0.1": "@west", "10.3.0.2": "@host7"}
    assert address(net.west) == ["10.3.0.1"]


def test_a_peer_that_is_dead_has_none() -> None:
    net = road(timing=replace(TIMING, dpd_delay=10, retransmit_timeout=15))
    up(net.west)
    net.link.cut = True
    net.run(120)
    assert held(net) == {}


def test_a_peer_may_ask_for_a_certain_one() -> None:
    net = road()
    second, third = warrior(net, 7, ip_address("10.3.0.2")), warrior(net, 8, ip_address("10.9.9.9"))
    up(second, third)
    assert held(net) == {"10.3.0.2": "@host7", "10.3.0.1": "@host8"}


def test_both_versions_of_ip() -> None:
    net = road(
        remote=replace(ANYONE, pools=(POOL, POOL6), selectors=(POOL.selector, POOL6.selector)),
        local=replace(EAST_END, selectors=tuple(TrafficSelector.of(ip_network(n)) for n in ("0.0.0.0/0", "::/0"))),
    )
    conn = net.west.conn
    net.west.conn = replace(conn, remote=net.east.conn.local)
    net.west.start()
    net.west.endpoint.credentials = KEY
    up(net.west)
    assert address(net.west) == ["10.3.0.1", "2001:db8:3::1"]
    assert traffic(net.east) == [(["0.0.0.0/0", "::/0"], ["10.3.0.1/32", "2001:db8:3::1/128"])]
    (policy,) = net.west.backend.policies.values()
    assert [str(policy.source_for(version)) for version in (4, 6)] == ["10.3.0.1", "2001:db8:3::1"]


def test_clones_are_for_that_address() -> None:
    net = road()
    up(net.west)
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(3)
    assert traffic(net.west) == [(["10.3.0.1/32"], ["192.0.2.0/24"])] * 3
    net.assert_consistent()


def test_a_gateway_that_is_not_asked_refuses_the_child_sa() -> None:
    net = road().hold()
    net.west.conn = connection(WEST_END, EAST_END)
    net.west.start()
    net.west.endpoint.credentials = KEY
    net.west.up()
    net.east.take()
    net.west.take()
    net.east.take()
    answer = net.west.read()
    assert [notify.type for notify in answer.all(Notify) if notify.type.is_error] == [NotifyType.FAILED_CP_REQUIRED]
    assert answer.first(Sa) is None
    assert [sa.state for sa in net.east.endpoint.ike_sas()] == [State.ESTABLISHED]
    assert held(net) == {}


def test_nor_is_there_a_child_sa_later_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ikeclone.ike.tunnel.Tunnel.first_child_failed", lambda self, sa, now, reason: None)
    net = road()
    net.west.conn = connection(replace(WEST_END, selectors=(POOL.selector,)), EAST_END)
    net.west.start()
    net.west.endpoint.credentials = KEY
    up(net.west)
    net.west.up()
    net.run(2)
    assert "FAILED_CP_REQUIRED" in told(net.west)
    assert not net.east.backend.installed


class Ask(Liveness):
    """A CFG_REQUEST in INFORMATIONAL."""

    def __init__(self, sa: IkeSa, kind: CfgAttributeType) -> None:
        super().__init__(sa)
        self._asked, self.reply = Configuration(CfgType.REQUEST, (CfgAttribute(kind),)), Configuration(CfgType.ACK)

    def request(self, now: float) -> Payloads:
        return (self._asked,)

    def response(self, message: Message, now: float) -> None:
        self.reply = message.require(Configuration)


def ask(net: Network, kind: CfgAttributeType) -> Configuration:
    assert net.west.ike is not None
    asking = Ask(net.west.ike, kind)
    net.west.ike.enqueue(asking, net.now)
    net.settle(net.west)
    net.run(1)
    return asking.reply


def test_what_was_left_out_of_ike_auth_can_be_asked_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ikeclone.ike.tunnel.Tunnel.first_child_failed", lambda self, sa, now, reason: None)
    net = road()
    net.west.conn = connection(replace(WEST_END, selectors=(POOL.selector,)), EAST_END)
    net.west.start()
    net.west.endpoint.credentials = KEY
    up(net.west)
    given = CfgAttribute(CfgAttributeType.INTERNAL_IP4_ADDRESS, bytes([10, 3, 0, 1]))
    servers = CfgAttribute(CfgAttributeType.INTERNAL_IP4_DNS, bytes([192, 0, 2, 53]))
    assert ask(net, CfgAttributeType.INTERNAL_IP4_ADDRESS) == Configuration(CfgType.REPLY, (given, servers))
    up(net.west)
    assert traffic(net.east) == [(["192.0.2.0/24"], ["10.3.0.1/32"])]


def test_a_request_is_answered_where_there_is_nothing_to_give() -> None:
    net = Network().established()
    assert ask(net, CfgAttributeType.APPLICATION_VERSION) == Configuration(CfgType.REPLY)


def test_the_gateway_waits_for_its_peers_also_where_it_knows_their_address() -> None:
    """They ask for their address in IKE_AUTH; an IKE SA of the gateway's would leave them without one."""
    net = road(remote=replace(ANYONE, address=WEST, identity=WEST_END.identity), childless=Childless.PREFER)
    with pytest.raises(LocalError, match="its peer gets its address from here: only the peer can bring it up"):
        net.east.up()
    up(net.west)
    with pytest.raises(LocalError, match="only the peer"):
        net.east.rekey(reauth=True)
    net.east.rekey(ike=True)
    net.run(40)
    assert (address(net.west), held(net)) == (["10.3.0.1"], {"10.3.0.1": "@west"})


def test_a_gateway_that_gives_nothing_is_left() -> None:
    net = road(remote=replace(WEST_END, selectors=(TrafficSelector.of(ip_network("0.0.0.0/0")),)))
    up(net.west)
    assert "the peer gives us no address" in told(net.west)
    net.run(60)
    assert not [sa for side in net.sides for sa in side.endpoint.ike_sas()]
    assert not net.west.backend.installed


@pytest.mark.parametrize("given", [0, 0x7F000001, 0xE0000005])
def test_no_host_can_have_every_address(given: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unspecified one, those of the loopback device and of multicast."""
    monkeypatch.setattr("ikeclone.ike.leases.Leases._new", lambda self: ip_address(given))
    net = road()
    up(net.west)
    assert "the peer gives us no address" in told(net.west)


def test_ondemand_waits_without_an_address_before_and_after() -> None:
    net = road()
    net.west.conn = replace(net.west.conn, auto=Auto.ONDEMAND)
    net.west.start()
    net.west.endpoint.credentials = KEY
    for _ in range(2):
        (policy,) = net.west.backend.policies.values()
        assert ([str(each) for each in policy.local], policy.addresses) == ([f"{WEST}/32"], ())
        net.west.packet(0)
        net.run(2)
        assert address(net.west) == ["10.3.0.1"]
        net.west.down()
        net.run(40)


def test_connections_on_one_ike_sa_have_one_address() -> None:
    """It is the IKE SA's, and theirs for as long as that is there."""
    net = road()
    net.west.endpoint.add(replace(net.west.conn, name="second"), net.now)
    up(net.west)
    assert net.west.ike is not None
    tunnels = [net.west.endpoint.tunnel(name) for name in (NAME, "second")]
    tunnels[1].join(net.west.ike)
    for tunnel in tunnels:
        assert [str(each) for each in tunnel.irac.addresses] == ["10.3.0.1"]
        assert [str(each) for each in tunnel.connection.local.selectors] == ["10.3.0.1/32"]
    net.east.down()
    net.run(2)
    for tunnel in tunnels:
        assert (tunnel.irac.addresses, tunnel.connection.local.selectors) == ((), ())


def test_reports() -> None:
    net = road()
    up(net.west)
    (row,) = View(net.west.endpoint, {}, net.now, 0.0).connections()
    assert (row.addresses, row.dns, row.domains) == (["10.3.0.1"], ["192.0.2.53"], ["example.org"])
    (pool,) = View(net.east.endpoint, {}, net.now, 0.0).pools()
    assert (pool.pool, pool.size, pool.leases) == ("10.3.0.1-10.3.0.2", 2, {"10.3.0.1": "@west"})
