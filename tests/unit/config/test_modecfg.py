"""Addresses inside the tunnel in ipsec.conf: pools, who asks for an address, and name servers."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from ikeclone.config import load
from ikeclone.connection import Connection, Pool
from ikeclone.errors import ConfigError
from ikeclone.resolver import Way

GATEWAY = "conn road\n\tleft=192.1.2.23\n\tleftsubnet=0.0.0.0/0\n\tright=%any\n\tauthby=secret\n"
WARRIOR = "conn road\n\tleft=192.1.2.45\n\tright=192.1.2.23\n\trightsubnet=0.0.0.0/0\n\tauthby=secret\n"


def pool(first: str, last: str) -> Pool:
    return Pool(ip_address(first), ip_address(last))


@pytest.fixture
def made(write: Callable[..., Path]) -> Callable[[str, str], Connection]:
    """The connection of a text, for the host with this address."""

    def made(text: str, address: str) -> Connection:
        (conn,) = load(write(text)).connections
        return conn.connection({ip_address(address)})

    return made


@pytest.mark.parametrize(
    ("text", "pools"),
    [
        ("10.3.0.10-10.3.0.20", [pool("10.3.0.10", "10.3.0.20")]),
        ("10.3.0.0/24", [pool("10.3.0.1", "10.3.0.254")]),
        (
            "10.3.0.7/32,2001:db8:3::/64",
            [pool("10.3.0.7", "10.3.0.7"), pool("2001:db8:3::1", "2001:db8:3::ffff:ffff:ffff:ffff")],
        ),
        ("10.3.0.6/31", [pool("10.3.0.6", "10.3.0.7")]),
    ],
)
def test_a_gateway(made: Callable[[str, str], Connection], text: str, pools: list[Pool]) -> None:
    more = "\tleftmodecfgserver=yes\n\trightmodecfgclient=yes\n"
    more += "\tmodecfgdns=192.0.2.53,2001:db8::53\n\tmodecfgdomains=example.org,lab\n"
    connection = made(f"{GATEWAY}\trightaddresspool={text}\n{more}", "192.1.2.23")
    assert connection.remote.pools == tuple(pools)
    assert connection.remote.selectors == tuple(each.selector for each in pools)
    assert [str(server) for server in connection.dns] == ["192.0.2.53", "2001:db8::53"]
    assert connection.domains == ("example.org", "lab")
    assert not connection.local.asks


@pytest.mark.parametrize("how", ["leftmodecfgclient=yes", "leftsourceip=%config", "leftaddresspool=10.3.0.0/24"])
def test_a_road_warrior(made: Callable[[str, str], Connection], how: str) -> None:
    more = "" if "pool" in how else "\trightmodecfgserver=yes\n\tleftsubnet=0.0.0.0/0\n\tnarrowing=yes\n"
    connection = made(f"{WARRIOR}\t{how}\n{more}", "192.1.2.45")
    assert connection.local.asks
    assert connection.local.source is None
    assert not connection.remote.pools


def test_whose_name_servers_are_used(made: Callable[[str, str], Connection], write: Callable[..., Path]) -> None:
    more = "\tleftmodecfgclient=yes\n"
    assert not made(WARRIOR + more, "192.1.2.45").ignore_peer_dns
    assert made(f"{WARRIOR}{more}\tignore-peer-dns=yes\n", "192.1.2.45").ignore_peer_dns
    assert load(write(WARRIOR)).setup.dns_resolver is Way.NO
    assert load(write(f"config setup\n\tdns-resolver=resolvconf\n{WARRIOR}")).setup.dns_resolver is Way.RESOLVCONF
    with pytest.raises(ConfigError, match="dns-resolver=file: must be one of no, systemd, resolvconf"):
        load(write(f"config setup\n\tdns-resolver=file\n{WARRIOR}"))


def test_a_road_warrior_may_say_which_address_it_wants(made: Callable[[str, str], Connection]) -> None:
    connection = made(WARRIOR + "\tleftmodecfgclient=yes\n\tleftsourceip=10.3.0.5\n", "192.1.2.45")
    assert (connection.local.asks, str(connection.local.source)) == (True, "10.3.0.5")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("rightaddresspool=10.3.0.9-10.3.0.1", "'10.3.0.9-10.3.0.1' is not a range of addresses"),
        ("rightaddresspool=10.3.0.9-2001:db8::1", "is not a range of addresses from the first to the last"),
        ("rightaddresspool=10.3.0.0/24,10.4.0.0/24", "one pool of IPv4 addresses, one of IPv6 addresses, or both"),
        ("rightaddresspool=10.3.0.1/24", "'10.3.0.1/24' is not a network such as"),
        ("rightaddresspool=10.3.0.0/24\n\trightmodecfgclient=no", "rightmodecfgclient=no excludes rightaddresspool="),
        ("rightaddresspool=10.3.0.0/24\n\tleftmodecfgserver=no", "right gets its address from the other end"),
        ("rightaddresspool=10.3.0.0/24\n\tleftmodecfgclient=yes", "which must not ask too"),
        ("rightaddresspool=10.3.0.0/24\n\trightsubnet=192.0.1.0/24", "leave out subnet"),
        ("rightaddresspool=10.3.0.0/24\n\trightprotoport=tcp/22", "protoport is not for an end"),
        ("leftmodecfgserver=yes", "leftmodecfgserver=yes, but the other end asks for nothing"),
        ("modecfgdns=192.0.2.53", "modecfgdns= is for an end that has leftaddresspool="),
        ("rightaddresspool=10.3.0.0/24\n\tmodecfgdomains=example.org", "modecfgdomains= says what the servers of"),
        (
            "rightaddresspool=10.3.0.0/24\n\tmodecfgdns=1.2.3.4\n\tmodecfgdomains=a..b",
            "'a..b' is not the name of a domain",
        ),
        ("leftsourceip=%conf", "leftsourceip=%conf: must be an IP address"),
    ],
)
def test_mistakes(mistakes: Callable[[str], list[str]], lines: str, told: str) -> None:
    assert any(told in each for each in mistakes(f"{GATEWAY}\t{lines}\n"))


def test_transport_mode_has_no_inside(mistakes: Callable[[str], list[str]]) -> None:
    conn = "conn road\n\tleft=192.1.2.45\n\tright=192.1.2.23\n\tauthby=secret\n\ttype=transport\n"
    assert mistakes(conn + "\tleftmodecfgclient=yes\n") == [
        "ipsec.conf:1: conn road: type=transport has no addresses inside a tunnel to give"
    ]


def test_pools_that_overlap(mistakes: Callable[[str], list[str]]) -> None:
    text = "".join(
        GATEWAY.replace("road", name) + f"\trightaddresspool={pool}\n"
        for name, pool in (
            ("a", "10.3.0.0/24"),
            ("b", "10.3.0.200-10.3.1.5"),
            ("c", "10.3.0.0/24"),
            ("d", "10.5.0.0/24"),
        )
    )
    assert mistakes(text) == [
        "ipsec.conf:7: conn b: the addresspool 10.3.0.200-10.3.1.5 overlaps 10.3.0.1-10.3.0.254 of c"
    ]


def test_a_gateway_without_a_pool_is_told_so(write: Callable[..., Path]) -> None:
    (conn,) = load(write(GATEWAY + "\trightmodecfgclient=yes\n")).connections
    with pytest.raises(ConfigError, match="name an addresspool for it"):
        conn.connection({ip_address("192.1.2.23")})
