"""The variables of a command: names and values that Libreswan's scripts know."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from ikeclone.backend import Handling, Interface, Mark
from ikeclone.updown import Change, Given, Mode, TrafficSelector, Verb
from ikeclone_updown.environment import runs
from tests.unit.test_changes import PATH, POLICY


def change(verb: Verb = Verb.UP, **policy: object) -> Change:
    return Change(verb, ("true",), "gw", replace(POLICY, **policy), "@west", "@east", "xfrm")  # type: ignore[arg-type]


def one(about: Change) -> dict[str, str]:
    (run,) = runs(about, "eth1")
    return run.environment


def selector(network: str, protocol: int = 0, port: int | None = None) -> TrafficSelector:
    return TrafficSelector.of(ip_network(network), protocol, port)


def test_all_of_a_tunnel_between_two_networks() -> None:
    environment = one(change())
    environment.pop("PATH")
    assert environment == {
        "PLUTO_VERB": "up-client",
        "PLUTO_CONNECTION": "gw",
        "PLUTO_CONNECTION_TYPE": "tunnel",
        "PLUTO_VIRT_INTERFACE": "NULL",
        "PLUTO_XFRMI_ROUTE": "",
        "PLUTO_INTERFACE": "eth1",
        "PLUTO_STACK": "xfrm",
        "PLUTO_SA_TYPE": "ESP",
        "PLUTO_CONN_ADDRFAMILY": "ipv4",
        "PLUTO_CLIENT_FAMILY": "ipv4",
        "PLUTO_MOBIKE_EVENT": "",
        "PLUTO_ME": "192.1.2.45",
        "PLUTO_MY_ID": "@west",
        "PLUTO_MY_CLIENT": "192.0.1.0/24",
        "PLUTO_MY_CLIENT_NET": "192.0.1.0",
        "PLUTO_MY_CLIENT_MASK": "255.255.255.0",
        "PLUTO_MY_PORT": "0",
        "PLUTO_MY_PROTOCOL": "0",
        "PLUTO_PEER": "192.1.2.23",
        "PLUTO_PEER_ID": "@east",
        "PLUTO_PEER_CLIENT": "192.0.2.0/24",
        "PLUTO_PEER_CLIENT_NET": "192.0.2.0",
        "PLUTO_PEER_CLIENT_MASK": "255.255.255.0",
        "PLUTO_PEER_PORT": "0",
        "PLUTO_PEER_PROTOCOL": "0",
        "PLUTO_CFG_CLIENT": "0",
        "PLUTO_CFG_SERVER": "0",
        "PLUTO_PEER_DNS_INFO": "",
        "PLUTO_PEER_DOMAIN_INFO": "",
    }


@pytest.mark.parametrize(
    ("verb", "local", "steps"),
    [
        (Verb.ROUTE, "192.0.1.0/24", ["prepare-client", "route-client"]),
        (Verb.DOWN, "2001:db8:1::/64", ["down-client-v6"]),
        (Verb.UP, "192.1.2.45/32", ["up-host"]),
        (Verb.UNROUTE, "192.0.1.0/24", ["unroute-client"]),
    ],
)
def test_verbs(verb: Verb, local: str, steps: list[str]) -> None:
    remote = "2001:db8:2::/64" if ":" in local else "192.0.2.0/24"
    found = list(runs(change(verb, local=(selector(local),), remote=(selector(remote),)), None))
    assert [run.step for run in found] == [run.environment["PLUTO_VERB"] for run in found] == steps
    assert found[0].environment["PLUTO_SA_TYPE"] == ("ESP" if verb in (Verb.UP, Verb.DOWN) else "none")
    assert found[0].environment["PLUTO_INTERFACE"] == "NULL"


def test_each_pair_of_selectors_of_one_family_has_a_run_of_its_own() -> None:
    local = selector("192.0.1.0/24"), selector("2001:db8:1::/64")
    remote = selector("192.0.2.0/24"), selector("192.0.3.0/24"), selector("2001:db8:2::/64")
    found = [run.environment for run in runs(change(local=local, remote=remote), "eth1")]
    assert [(each["PLUTO_MY_CLIENT"], each["PLUTO_PEER_CLIENT"]) for each in found] == [
        ("192.0.1.0/24", "192.0.2.0/24"),
        ("192.0.1.0/24", "192.0.3.0/24"),
        ("2001:db8:1::/64", "2001:db8:2::/64"),
    ]


def test_protocols_ports_and_ranges() -> None:
    uneven = TrafficSelector(ip_address("192.0.1.5"), ip_address("192.0.1.9"))
    found = one(change(local=(uneven,), remote=(selector("192.0.2.1/32", 6, 443),)))
    assert found["PLUTO_MY_CLIENT"] == "192.0.1.5-192.0.1.9"
    assert (found["PLUTO_MY_CLIENT_NET"], found["PLUTO_MY_CLIENT_MASK"]) == ("192.0.1.0", "255.255.255.240")
    assert (found["PLUTO_PEER_PROTOCOL"], found["PLUTO_PEER_PORT"]) == ("6", "443")


def test_what_the_connection_says_of_its_packets() -> None:
    handling = Handling(
        interface=Interface(7, (ip_interface("10.0.0.1/24"),)), mark_in=Mark(5), mark_out=Mark(0x10, 0xF0)
    )
    found = one(change(handling=handling, source=ip_address("192.0.1.1"), mode=Mode.TRANSPORT))
    assert found["PLUTO_VIRT_INTERFACE"] == "ipsec7"
    assert found["PLUTO_XFRMI_ROUTE"] == "yes"
    assert found["INTERFACE_IP"] == "10.0.0.1/24"
    assert (found["CONNMARK_IN"], found["CONNMARK_OUT"]) == ("5/0xffffffff", "16/0x000000f0")
    assert found["PLUTO_MY_SOURCEIP"] == "192.0.1.1"
    assert found["PLUTO_CONNECTION_TYPE"] == "transport"


def test_a_source_address_of_the_other_family_is_left_out() -> None:
    assert "PLUTO_MY_SOURCEIP" not in one(change(source=ip_address("2001:db8:1::1")))


def test_an_address_inside_the_tunnel_is_the_source() -> None:
    found = one(change(source=ip_address("192.0.1.1"), addresses=(ip_address("10.3.0.1"),)))
    assert found["PLUTO_MY_SOURCEIP"] == "10.3.0.1"


def test_what_a_gateway_has_given_us() -> None:
    dns = tuple(ip_address(each) for each in ("2001:db8:b::53", "192.0.2.53", "192.0.2.54"))
    given = Given(asks=True, dns=dns, domains=("example.org", "lab"))
    addresses = ip_address("10.3.0.1"), ip_address("2001:db8:3::1")
    found = one(replace(change(addresses=addresses), given=given))
    assert (found["PLUTO_CFG_CLIENT"], found["PLUTO_CFG_SERVER"]) == ("1", "0")
    assert found["PLUTO_PEER_DNS_INFO"] == "2001:db8:b::53 192.0.2.53 192.0.2.54"
    assert found["PLUTO_PEER_DOMAIN_INFO"] == "example.org lab"
    numbered = {name: value for name, value in found.items() if name[-2] == "_"}
    assert numbered == {
        "PLUTO_DNS4_1": "192.0.2.53",
        "PLUTO_DNS4_2": "192.0.2.54",
        "PLUTO_DNS6_1": "2001:db8:b::53",
        "PLUTO_MY_SOURCEIP4_1": "10.3.0.1",
        "PLUTO_MY_SOURCEIP6_1": "2001:db8:3::1",
    }


def test_what_we_have_given_the_peer() -> None:
    given = Given(serves=True, leased=(ip_address("10.3.0.1"), ip_address("2001:db8:3::1")))
    found = one(replace(change(), given=given))
    assert (found["PLUTO_CFG_CLIENT"], found["PLUTO_CFG_SERVER"]) == ("0", "1")
    assert found["PLUTO_PEER_SOURCEIP"] == found["PLUTO_PEER_SOURCEIP4_1"] == "10.3.0.1"
    assert found["PLUTO_PEER_SOURCEIP6_1"] == "2001:db8:3::1"


def test_a_move() -> None:
    moved = replace(change(path=replace(PATH, local=ip_address("2001:db8::1"))), roamed=True)
    found = one(moved)
    assert (found["PLUTO_MOBIKE_EVENT"], found["PLUTO_CONN_ADDRFAMILY"]) == ("yes", "ipv6")


def test_a_peer_cannot_put_into_its_name_what_a_shell_would_do() -> None:
    hostile = replace(change(), remote_id="@$(reboot);`x`\n'\"\\\0|&<>é")
    assert one(hostile)["PLUTO_PEER_ID"] == "@?(reboot)??x??????????é"
