"""What the keywords mean, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from ikeclone.backend import Mode, Volume
from ikeclone.config import Setup, load
from ikeclone.connection import Auto, Choice, ClonesMode, Connection, Identity, Timing
from ikeclone.crypto import registry
from ikeclone.errors import ConfigError
from ikeclone.ike.host import Settings
from ikeclone.numbers import Esn, TransformType
from ikeclone.selectors import TrafficSelector

Write = Callable[..., Path]
Mistakes = Callable[[str], list[str]]

AMOUNT = "must be a number from 1 to 2^63, with"
IDENTITY = 'must be an IP address, @host.name, user@host.name, @#hex or "C=CA, CN=west"'
HOSTS = "\tleft=192.1.2.45\n\tright=192.1.2.23\n\tauthby=secret\n"
WEST = frozenset({ip_address("192.1.2.45"), ip_address("192.0.1.254")})
EAST = frozenset({ip_address("192.1.2.23")})


def connection(path: Path) -> Connection:
    return load(path).connections[0].connection(WEST)


def net(text: str, protocol: int = 0, port: int | None = None) -> TrafficSelector:
    return TrafficSelector.of(ip_network(text), protocol, port)


def test_the_example_from_either_end() -> None:
    config = load(Path(__file__).parents[3] / "conf" / "ipsec.conf")
    (conn,) = config.connections
    west, east = conn.connection(WEST), conn.connection(EAST)
    assert (west.name, west.clones, west.auto, west.mode) == ("westnet-eastnet", 2, Auto.ADD, Mode.TUNNEL)
    assert west.local.identity == Identity.parse("@west")
    assert west.local.selectors == (net("192.0.1.0/24"),)
    assert west.remote.address == ip_address("192.1.2.23")
    assert (east.local, east.remote) == (west.remote, west.local)
    assert config.setup == Setup()


def test_what_is_not_said(write: Write) -> None:
    made = connection(write("conn a\n" + HOSTS))
    assert made.local.identity == Identity.of_address(ip_address("192.1.2.45"))
    assert (made.local.selectors, made.remote.selectors, made.local.source) == ((), (), None)
    assert (made.clones, made.auto, made.pfs, made.rekey) == (0, Auto.IGNORE, True, True)
    assert (made.ike, made.timing) == (registry.DEFAULT_IKE, Timing())


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("auto=route", "auto", Auto.ONDEMAND),
        ("auto=ondemand", "auto", Auto.ONDEMAND),
        ("auto=start", "auto", Auto.START),
        ("clones=yes", "clones", None),
        ("clones=no", "clones", 0),
        ("clones=1024", "clones", 1024),
        ("clones-mode=eager", "clones_mode", ClonesMode.EAGER),
        ("clones-mode=ondemand", "clones_mode", ClonesMode.ONDEMAND),
        ("clones-idle=90s", "clones_idle", 90.0),
        ("clones-idle=0", "clones_idle", 0.0),
        ("clones-encap=yes", "clones_encap", True),
        ("type=transport", "mode", Mode.TRANSPORT),
        ("pfs=no", "pfs", False),
        ("rekey=no", "rekey", False),
        ("encapsulation=yes", "encapsulation", Choice.YES),
        ("fragmentation=no", "fragmentation", False),
        ("fragmentation=force", "fragmentation", True),
        ("replay-window=0", "replay_window", 0),
        ("ike=aes256-sha2_512;dh19", "ike", registry.parse_ike("aes256-sha2_512;dh19")),
        ("pfs=", "pfs", True),
        ("keyexchange=ikev2\n\tikev2=insist\n\tdpdaction=restart\n\tdpdtimeout=2m", "pfs", True),
        ("ikelifetime=1h", "timing", Timing(ike_lifetime=3600)),
        ("salifetime=3600", "timing", Timing(child_lifetime=3600)),
        ("ipsec-max-bytes=1000000", "volume", Volume(octets=1_000_000)),
        ("ipsec-max-bytes=4GiB", "volume", Volume(octets=4 << 30)),
        ("ipsec-max-packets=2Ei", "volume", Volume(packets=2 << 60)),
        ("keylife=0.5d", "timing", Timing(child_lifetime=43200)),
        ("rekeymargin=1m\n\trekeyfuzz=0%", "timing", Timing(margin=60, fuzz=0)),
        ("retransmit-interval=200", "timing", Timing(retransmit_first=0.2)),
        ("retransmit-interval=2s", "timing", Timing(retransmit_first=2)),
        ("retransmit-timeout=5s", "timing", Timing(retransmit_timeout=5)),
        ("dpddelay=30", "timing", Timing(dpd_delay=30)),
        ("nat-keepalive=no", "timing", Timing(keepalive=0)),
    ],
)
def test_keyword(write: Write, line: str, field: str, value: Any) -> None:
    assert getattr(connection(write(f"conn a\n{HOSTS}\t{line}\n")), field) == value


@pytest.mark.parametrize(
    ("lines", "selectors"),
    [
        ("leftsubnet=192.0.1.0/24", (net("192.0.1.0/24"),)),
        ("leftsubnet=192.0.1.7", (net("192.0.1.7/32"),)),
        ("leftsubnet=192.0.1.0/24,2001:db8::/64", (net("192.0.1.0/24"), net("2001:db8::/64"))),
        ("leftsubnets={192.0.1.0/24 192.0.3.0/24}", (net("192.0.1.0/24"), net("192.0.3.0/24"))),
        ("leftsubnet=192.0.1.0/24/tcp/22", (net("192.0.1.0/24", 6, 22),)),
        ("leftsubnet=192.0.1.0/24\n\tleftprotoport=udp/%any", (net("192.0.1.0/24", 17),)),
        ("leftprotoport=47", (net("192.1.2.45/32", 47),)),
    ],
)
def test_selectors(write: Write, lines: str, selectors: tuple[TrafficSelector, ...]) -> None:
    made = connection(write(f"conn a\n{HOSTS}\t{lines}\n\tleftsourceip=192.0.1.254\n"))
    assert made.local.selectors == selectors
    assert made.local.source == ip_address("192.0.1.254")


@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        ("", [Esn.YES, Esn.NO]),
        ("esn=yes", [Esn.YES]),
        ("esn=no", [Esn.NO]),
        ("esn=either", [Esn.YES, Esn.NO]),
        ("phase2alg=aes_gcm256", [Esn.YES, Esn.NO]),
        ("esn=either\n\treplay-window=0", [Esn.NO]),
    ],
)
def test_sequence_numbers(write: Write, lines: str, kinds: list[Esn]) -> None:
    for proposal in connection(write(f"conn a\n{HOSTS}\t{lines}\n")).esp:
        assert [item.id for item in proposal.transforms if item.type == TransformType.ESN] == kinds


def test_a_proposal_may_name_its_sequence_numbers(write: Write) -> None:
    named, other = connection(write(f"conn a\n{HOSTS}\tesp=aes_gcm256-esn,aes_gcm128\n")).esp
    assert named == registry.parse_esp("aes_gcm256-esn")[0]
    assert [item.id for item in other.transforms if item.type == TransformType.ESN] == [Esn.YES, Esn.NO]


def test_own_words_go_before_those_of_also_and_default(write: Write) -> None:
    text = (
        "conn a\n\talso=b\n\tclones=1\nconn b\n\talso=hosts\n\talso=a\n\tclones=2\n\tpfs=no\n"
        f"conn hosts\n{HOSTS}\tpfs=yes\n\tencapsulation=no\n"
        "conn %default\n\tencapsulation=yes\n\tauto=add\nconn %default\n\tfragmentation=no\n"
    )
    config = load(write(text))
    assert [conn.name for conn in config.connections] == ["a", "b", "hosts"]
    a, b, hosts = (conn.connection(WEST) for conn in config.connections)
    assert (a.clones, a.pfs, a.encapsulation, a.auto, a.fragmentation) == (
        1,
        False,
        Choice.NO,
        Auto.ADD,
        False,
    )
    assert (b.clones, hosts.clones, hosts.pfs) == (2, 0, True)


def test_a_template_is_no_connection(write: Write) -> None:
    config = load(write(f"conn common\n\tclones=2\nconn a\n\talso=common\n{HOSTS}"))
    assert [(conn.name, conn.keywords.clones) for conn in config.connections] == [("a", 2)]


@pytest.mark.parametrize(("line", "reauth"), [("", False), ("reauth=no", False), ("reauth=yes", True)])
def test_whether_the_peers_authenticate_anew(write: Write, line: str, reauth: bool) -> None:
    assert connection(write(f"conn a\n{HOSTS}\t{line}\n")).reauth is reauth


def test_setup(write: Write) -> None:
    setup = load(write("config setup\n\tlisten={192.1.2.45, 2001:db8::1}\n\tuniqueids=no\n")).setup
    assert setup == Setup.model_construct(listen=(ip_address("192.1.2.45"), ip_address("2001:db8::1")), uniqueids=False)


@pytest.mark.parametrize(
    ("lines", "threshold"),
    [
        ("", 64),
        ("ddos-mode=auto", 64),
        ("ddos-ike-threshold=3", 3),
        ("ddos-mode=busy", 0),
        ("ddos-mode=busy\n\tddos-ike-threshold=3", 0),
        ("ddos-mode=unlimited\n\tmax-halfopen-ike=500", 500),
    ],
)
def test_when_cookies_are_demanded(write: Write, lines: str, threshold: int) -> None:
    """Half-open IKE SAs above max-halfopen-ike are refused first, so that with `unlimited` no cookie is demanded."""
    assert load(write(f"config setup\n\t{lines}\n")).setup.cookie_threshold == threshold


def test_limits_of_half_open_ike_sas_are_those_of_an_endpoint_by_default() -> None:
    assert (Setup().cookie_threshold, Setup().max_halfopen_ike) == (
        Settings().cookie_threshold,
        Settings().half_open_limit,
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("clons=2", "unknown keyword 'clons' (did you mean 'clones'?)"),
        ("lefthost=1.2.3.4", "unknown keyword 'lefthost' (did you mean 'leftsubnet'?)"),
        ("qqqqqq=1", "unknown keyword 'qqqqqq'"),
        ("steering=auto", "unknown keyword 'steering' (it belongs into config setup)"),
        ("auto=maybe", "auto=maybe: must be one of ignore, add, keep, ondemand, route, start, up"),
        ("clones=0x2", "clones=0x2: must be no, yes (one per CPU) or a number from 1 to 1024"),
        ("clones=1025", "clones=1025: must be no, yes (one per CPU) or a number from 1 to 1024"),
        ("reauth=maybe", "reauth=maybe: must be one of yes, no, true, false, on, off, 1, 0"),
        ("clones-mode=lazy", "clones-mode=lazy: must be one of ondemand, eager"),
        ("clones-idle=2d", "clones-idle=2d: must be from 0 to 86400 seconds"),
        ("type=drop", "type=drop: must be one of tunnel, transport"),
        ("pfs=perhaps", "pfs=perhaps: must be one of yes, no, true, false, on, off, 1, 0"),
        ("encapsulation=on", "encapsulation=on: must be one of auto, yes, no"),
        ("esn=2", "esn=2: must be one of yes, no, either"),
        ("keyexchange=ikev1", "keyexchange=ikev1: must be ikev2: nothing else is supported"),
        ("ikev2=never", "ikev2=never: must be one of yes, insist"),
        ("replay-window=4097", "replay-window=4097: must be a number from 0 to 4096"),
        ("rekeyfuzz=1", "rekeyfuzz=1: must be a percentage such as 100%"),
        ("ikelifetime=1y", "ikelifetime=1y: must be a time such as 30s, 500ms, 9m, 8h or 1d"),
        ("ikelifetime=0", "ikelifetime=0: must be above 0 to 86400 seconds"),
        ("ipsec-max-bytes=1G", f"ipsec-max-bytes=1G: {AMOUNT} KiB, MiB, GiB, TiB, PiB, EiB behind it or without"),
        ("ipsec-max-bytes=0", f"ipsec-max-bytes=0: {AMOUNT} KiB, MiB, GiB, TiB, PiB, EiB behind it or without"),
        ("ipsec-max-packets=9Ei", f"ipsec-max-packets=9Ei: {AMOUNT} Ki, Mi, Gi, Ti, Pi, Ei behind it or without"),
        ("dpddelay=9w", "dpddelay=9w: must be from 0 to 86400 seconds"),
        ("dpdaction=explode", "dpdaction=explode: must be one of hold, clear, restart"),
        ("leftid=west", f"leftid=west: {IDENTITY}"),
        ("leftid=@", f"leftid=@: {IDENTITY}"),
        ("leftid=@#xy", f"leftid=@#xy: {IDENTITY}"),
        ("leftsourceip=gw", "leftsourceip=gw: must be an IP address; names are not looked up"),
        (
            "leftsourceip=fe80::1%eth0",
            "leftsourceip=fe80::1%eth0: must be an IP address without an interface",
        ),
        (
            "leftsubnet=192.0.1.1/24",
            (
                "leftsubnet=192.0.1.1/24: '192.0.1.1/24' is not a network such as 192.0.2.0/24 "
                "(192.0.1.1/24 has host bits set)"
            ),
        ),
        ('leftsubnet=","', "leftsubnet=,: must not be empty"),
        ("leftprotoport=tcp/ssh", "leftprotoport=tcp/ssh: 'ssh' is not a port: a number up to 65535 or %any"),
        ("leftprotoport=%any/22", "leftprotoport=%any/22: '%any/22' has a port without a protocol"),
        (
            "leftprotoport=tpc",
            (
                "leftprotoport=tpc: 'tpc' is not a protocol: "
                "a number up to 255, %any, icmp, tcp, udp, gre, esp, ah, icmpv6, sctp"
            ),
        ),
    ],
)
def test_mistakes_at_their_line(mistakes: Mistakes, line: str, message: str) -> None:
    assert mistakes(f"conn a\n{HOSTS}\n\t{line}\n") == [f"ipsec.conf:6: conn a: {message}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "\tleft=%any\n\tright=%any\n",
            "left and right are both %any: one must be an address of this host, or %defaultroute",
        ),
        ("\tleft=1.2.3.4\n\tright=::1\n", "left and right are addresses of different versions of IP"),
        ("\tleft=1.2.3.4\n", "right= is missing: give the address of that end, or %any"),
        (
            "\tleft=%defaultroute\n\tright=%defaultroute\n",
            "left and right are both %defaultroute, which is this host: one must be its peer",
        ),
        (
            "\tleft=1.2.3.4\n\tright=%any\n\tleftsubnet=10.0.0.0/8\n\trightsubnet=fd00::/8\n",
            "leftsubnet and rightsubnet have no version of IP in common",
        ),
        (
            "\tleft=1.2.3.4\n\tright=%any\n\tleftsubnet=10.0.0.0/8\n\ttype=transport\n",
            "type=transport is for the hosts themselves: leave out leftsubnet and rightsubnet",
        ),
        (
            "\tleft=1.2.3.4\n\tright=1.2.3.5\n\tmobike=yes\n\ttype=transport\n",
            "mobike=yes is for tunnels: type=transport ties an SA to the addresses (RFC 4555)",
        ),
        (
            "\tleft=1.2.3.4\n\tright=%any\n\tleftsubnet=10.0.0.0/8\n\tleftsubnets=10.0.0.0/8\n",
            "left: subnet and subnets exclude each other",
        ),
        (
            "\tleft=1.2.3.4\n\tright=%any\n\tclones-encap=yes\n\tencapsulation=no\n",
            "clones-encap=yes is for ESP in UDP, which encapsulation=no forbids",
        ),
        (
            "\tleft=1.2.3.4\n\tright=%any\n\trightprotoport=tcp\n",
            "right: protoport needs a subnet where the address is %any or %defaultroute",
        ),
        (
            "\tleft=1.2.3.4\n\tright=%any\n\tleftsubnet=10.0.0.0/8/udp\n\tleftprotoport=tcp\n",
            "left: a subnet with a protocol and a protoport exclude each other",
        ),
        (
            "\tleft=1.2.3.4\n\tright=%any\n\tesn=yes\n\treplay-window=0\n",
            "esn=yes needs a replay-window above 0",
        ),
        (
            "\tleft=1.2.3.4\n\tright=%any\n\tsalifetime=10m\n",
            (
                "rekeymargin and rekeyfuzz take up to 1080 of the 600 seconds of salifetime: "
                "make it longer or rekeymargin shorter"
            ),
        ),
    ],
)
def test_mistakes_of_a_whole_conn(mistakes: Mistakes, text: str, message: str) -> None:
    assert mistakes(f"# first\nconn a\n\tauthby=secret\n{text}") == [f"ipsec.conf:2: conn a: {message}"]


def test_a_short_lifetime_is_fine_without_rekeying(write: Write) -> None:
    assert connection(write(f"conn a\n{HOSTS}\tsalifetime=60\n\trekey=no\n")).timing.child_lifetime == 60


def test_wrong_hosts_and_methods(mistakes: Mistakes) -> None:
    assert mistakes("conn a\n\tleft=%eth0\n\tright=east.example\n\tauthby=never\n") == [
        "ipsec.conf:2: conn a: left=%eth0: must be an IP address, %defaultroute or %any",
        "ipsec.conf:3: conn a: right=east.example: must be an IP address; names are not looked up",
        (
            "ipsec.conf:4: conn a: authby=never: must be one or more of secret, null, eap-mschapv2, eap-tls, "
            "rsasig, rsa-sha1, rsa-sha2, "
            "rsa-sha2_256, rsa-sha2_384, rsa-sha2_512, ecdsa, ecdsa-sha2, ecdsa-sha2_256, ecdsa-sha2_384, "
            "ecdsa-sha2_512, eddsa, pubkey, with commas between them"
        ),
    ]
    assert mistakes("conn a\n\tleft=1.2.3.4\n\tright=%any\n") == [
        (
            "ipsec.conf:1: conn a: authby= is missing: give authby=secret, for a preshared key, "
            "authby=rsasig, ecdsa or eddsa, for signatures, or both leftauth= and rightauth="
        )
    ]


def test_unknown_algorithms_name_the_word(mistakes: Mistakes) -> None:
    ike, esp = mistakes(f"conn a\n{HOSTS}\tike=aes256-rot13\n\tesp=rot13\n")
    assert ike.startswith("ipsec.conf:5: conn a: ike=aes256-rot13: ")
    assert esp.startswith("ipsec.conf:6: conn a: esp=rot13: ")
    assert "rot13" in esp.removeprefix("ipsec.conf:6: conn a: esp=rot13: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"conn a\n{HOSTS}conn a\n{HOSTS}", "ipsec.conf:5: conn a is there twice: first at ipsec.conf:1"),
        ("config setup\nconfig setup\n", "ipsec.conf:2: config setup is there twice: first at ipsec.conf:1"),
        (
            f"conn a\n{HOSTS}\tpfs=no\n\tpfs=no\n",
            "ipsec.conf:6: conn a: pfs is there twice: first at ipsec.conf:5",
        ),
        (
            f"conn a\n{HOSTS}\tesp=aes256\n\tphase2alg=aes256\n",
            "ipsec.conf:6: conn a: phase2alg is there twice: first at ipsec.conf:5 as esp",
        ),
        (
            "conn %default\n\tpfs=no\nconn %default\n\tpfs=no\n",
            "ipsec.conf:4: conn %default: pfs is there twice: first at ipsec.conf:2",
        ),
        (f"conn a\n\talso=b\n{HOSTS}", "ipsec.conf:2: conn a: also=b: there is no such conn"),
        ("conn %default\n\talso=b\n", "ipsec.conf:2: conn %default: also= is for other conns only"),
        (
            "config setup\n\tmobike=yes\n",
            "ipsec.conf:2: config setup: unknown keyword 'mobike' (it belongs into a conn)",
        ),
        (
            "config setup\n\tunique=1\n",
            "ipsec.conf:2: config setup: unknown keyword 'unique' (did you mean 'uniqueids'?)",
        ),
        (
            "config setup\n\tddos-mode=always\n",
            "ipsec.conf:2: config setup: ddos-mode=always: must be one of auto, busy, unlimited",
        ),
        (
            "config setup\n\tmax-halfopen-ike=0\n",
            "ipsec.conf:2: config setup: max-halfopen-ike=0: must be a number from 1 to 1000000",
        ),
        (
            "config setup\n\tsteering=rss\n",
            "ipsec.conf:2: config setup: steering=rss: must be one of auto, no, nic, xdp, rps",
        ),
        (
            "config setup\n\tsteering-inside=eth1,a/b\n",
            "ipsec.conf:2: config setup: steering-inside=eth1,a/b: 'a/b' is not the name of a network device",
        ),
        (
            "config setup\n\tlisten=all\n",
            "ipsec.conf:2: config setup: listen=all: must be an IP address; names are not looked up",
        ),
    ],
)
def test_mistakes_between_sections(mistakes: Mistakes, text: str, message: str) -> None:
    assert mistakes(text) == [message]


def test_a_mistake_that_many_take_over_is_told_once(mistakes: Mistakes) -> None:
    text = f"conn %default\n\tpfs=x\nconn a\n{HOSTS}conn b\n{HOSTS}"
    assert mistakes(text) == ["ipsec.conf:2: conn %default: pfs=x: must be one of yes, no, true, false, on, off, 1, 0"]


def test_every_mistake_is_told(mistakes: Mistakes) -> None:
    found = mistakes("conn a\n\tleft=x\n\tfoo=1\n\tauto\nfoo\nconn a\n")
    assert [error.split(": ")[0] for error in found] == [
        *("ipsec.conf:1", "ipsec.conf:1", "ipsec.conf:2", "ipsec.conf:3", "ipsec.conf:4", "ipsec.conf:5"),
        "ipsec.conf:6",
    ]


def test_orientation(write: Write) -> None:
    (conn,) = load(write("conn a\n" + HOSTS)).connections
    with pytest.raises(ConfigError) as neither:
        conn.connection(frozenset({ip_address("10.0.0.1")}))
    assert neither.value.line == 1
    assert neither.value.reason == (
        "conn a: neither of left=192.1.2.45 and right=192.1.2.23 is an address of this host, which has 10.0.0.1"
    )
    with pytest.raises(ConfigError, match="are both addresses of this host"):
        conn.connection(WEST | EAST)


def test_the_default_route_is_this_host_whatever_its_address(write: Write) -> None:
    (conn,) = load(write("conn a\n\tleft=192.1.2.23\n\tright=%defaultroute\n\tauthby=secret\n")).connections
    made = conn.connection(WEST)
    assert (made.local.address, made.local.identity, made.remote.address) == (None, None, ip_address("192.1.2.23"))
    with pytest.raises(ConfigError, match=r"left=192\.1\.2\.23 and right=%defaultroute are both"):
        conn.connection(EAST)


def test_a_road_warrior_is_anyone(write: Write) -> None:
    (conn,) = load(write("conn a\n\tleft=192.1.2.45\n\tright=%any\n\tauthby=secret\n")).connections
    made = conn.connection(WEST)
    assert made.remote == replace(made.remote, address=None, identity=None)
    with pytest.raises(ConfigError, match="right=%any"):
        conn.connection(EAST)


def test_what_is_written_elsewhere_is_the_same(write: Write) -> None:
    text = f"conn a\n{HOSTS}\tauto=add\nconn b\n{HOSTS}"
    former = load(write(text)).active
    assert [*former] == ["a"]
    assert load(write(f"# moved\n\n{text}")).active == former
    assert load(write(text.replace("auto=add", "auto=start"))).active != former
