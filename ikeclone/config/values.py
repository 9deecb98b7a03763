"""Values of keywords, from text to what they mean. Every ValueError here says what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TypeVar

from ikeclone.connection import Identity, Pool
from ikeclone.crypto.signature import PublicKey
from ikeclone.pki.raw import parse_public_key
from ikeclone.selectors import IPAddress, IPNetwork, TrafficSelector

T = TypeVar("T")

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(us|ms|s|m|h|d|w)?")
_AMOUNT = re.compile(r"([0-9]{1,19})([A-Za-z]+)?", re.ASCII)
_MOST = 1 << 63
_PERCENT = re.compile(r"([0-9]{1,4})%")
_NUMBER = re.compile(r"[0-9]{1,10}")
_DOMAIN = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "sctp": 132}

_DEVICE_LENGTH = 15  # IFNAMSIZ without the zero octet
MAX_CLONES = 1024
FROM_CERTIFICATE = "%fromcert"
DEFAULT_ROUTE = "%defaultroute"
FROM_PEER = "%config"


def one_of(values: Mapping[str, T]) -> Callable[[str], T]:
    """A keyword with a fixed set of words."""
    words = ", ".join(values)
    must = f"must be one of {words}" if len(values) > 1 else f"must be {words}: nothing else is supported"

    def parse(text: str) -> T:
        if text.lower() not in values:
            raise ValueError(must)
        return values[text.lower()]

    return parse


_YES_NO = {
    "yes": True,
    "no": False,
    "true": True,
    "false": False,
    "on": True,
    "off": False,
    "1": True,
    "0": False,
}

yes_no = one_of(_YES_NO)
yes_no_force = one_of({**_YES_NO, "force": True})


def integer(least: int, most: int) -> Callable[[str], int]:
    """A whole number within limits."""

    def parse(text: str) -> int:
        if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(f"must be a number from {least} to {most}")
        return int(text)

    return parse


def duration(most: float, *, unit: str = "s", zero: bool = False) -> Callable[[str], float]:
    """A time in seconds, at most `most`; `unit` is that of a bare number, `zero` whether 0 is a value."""

    def parse(text: str) -> float:
        if not (match := _DURATION.fullmatch(text)):
            raise ValueError("must be a time such as 30s, 500ms, 9m, 8h or 1d")
        seconds = float(match[1]) * _UNITS[match[2] or unit]
        if seconds > most or not (seconds or zero):
            raise ValueError(f"must be {'from 0' if zero else 'above 0'} to {most:g} seconds")
        return seconds

    return parse


def amount(unit: str) -> Callable[[str], int]:
    """A whole number above 0, in powers of 1024 with a suffix: K, M, G, T, P or E, and the `unit`."""
    suffixes = {letter + unit: 1024 ** (power + 1) for power, letter in enumerate("KMGTPE")}

    def parse(text: str) -> int:
        match = _AMOUNT.fullmatch(text)
        scale = suffixes.get(match[2]) if match and match[2] else 1
        if not match or scale is None or not 0 < int(match[1]) * scale <= _MOST:
            raise ValueError(f"must be a number from 1 to 2^63, with {', '.join(suffixes)} behind it or without")
        return int(match[1]) * scale

    return parse


def percent(text: str) -> float:
    """A share such as 100%, as a factor."""
    if not (match := _PERCENT.fullmatch(text)):
        raise ValueError("must be a percentage such as 100%")
    return int(match[1]) / 100


def clones(text: str) -> int | None:
    """Clones beside the fallback: `no` is 0, `yes` is None: as many as there are CPUs."""
    words = {"no": 0, "yes": None}
    if text.lower() in words:
        return words[text.lower()]
    if not _NUMBER.fullmatch(text) or int(text) > MAX_CLONES:
        raise ValueError(f"must be no, yes (one per CPU) or a number from 1 to {MAX_CLONES}")
    return int(text)


def host(text: str) -> IPAddress | str | None:
    """The address of an end; None is %any, a text %defaultroute."""
    if text.lower() == "%any":
        return None
    if text.lower() == DEFAULT_ROUTE:
        return DEFAULT_ROUTE
    if text.startswith("%"):
        raise ValueError("must be an IP address, %defaultroute or %any")
    return address(text)


def address(text: str) -> IPAddress:
    """An IPv4 or IPv6 address."""
    try:
        parsed = ip_address(text)
    except ValueError:
        raise ValueError("must be an IP address; names are not looked up") from None
    if "%" in text:
        raise ValueError("must be an IP address without an interface")
    return parsed


def addresses(text: str) -> tuple[IPAddress, ...]:
    """Addresses separated by blanks or commas."""
    return tuple(address(word) for word in _words(text))


def source(text: str) -> IPAddress | str:
    """The address of our own packets, or %config for the one that the peer gives us."""
    return FROM_PEER if text.lower() == FROM_PEER else address(text)


def pools(text: str) -> tuple[Pool, ...]:
    """Pools FIRST-LAST or NET/LENGTH separated by blanks or commas, at most one of each version of IP."""
    found = tuple(_pool(word) for word in _words(text))
    if len({pool.version for pool in found}) < len(found):
        raise ValueError("must be one pool of IPv4 addresses, one of IPv6 addresses, or both")
    return found


def _pool(text: str) -> Pool:
    """Of a network those addresses that hosts can have."""
    first, _, last = text.partition("-")
    if last:
        pool = Pool(address(first), address(last))
        if pool.first.version != pool.last.version or pool.size < 1:
            raise ValueError(f"'{text}' is not a range of addresses from the first to the last")
        return pool
    network = _network(text)
    if network.num_addresses <= 2:
        return Pool(network[0], network[-1])
    return Pool(network[1], network[-2 if network.version == 4 else -1])


def domains(text: str) -> tuple[str, ...]:
    """Names of domains separated by blanks or commas."""
    words = tuple(_words(text))
    for word in words:
        if not _DOMAIN.fullmatch(word):
            raise ValueError(f"'{word}' is not the name of a domain")
    return words


def identity(text: str) -> Identity:
    """An identity as `Identity.parse` takes it."""
    try:
        parsed = Identity.parse(text)
    except ValueError:
        parsed = None
    if parsed is None or not parsed.data:
        raise ValueError('must be an IP address, @host.name, user@host.name, @#hex or "C=CA, CN=west"')
    return parsed


def end_identity(text: str) -> Identity | str:
    """An identity, or %fromcert for that of the certificate."""
    return FROM_CERTIFICATE if text.lower() == FROM_CERTIFICATE else identity(text)


def key(text: str) -> PublicKey | None:
    """A public key; %cert, as files of Libreswan's have it, is that of the certificate."""
    if text.lower() == "%cert":
        return None
    try:
        return parse_public_key(text)
    except ValueError as error:
        raise ValueError(f"must be a public key or %cert; this is {error}") from None


def subnets(text: str) -> tuple[TrafficSelector, ...]:
    """Selectors NET[/LENGTH[/PROTOCOL[/PORT]]] separated by blanks or commas."""
    return tuple(_subnet(word) for word in _words(text))


def protoport(text: str) -> tuple[int, int | None]:
    """PROTOCOL[/PORT]; the port is None for any."""
    name, _, port = text.partition("/")
    number = _protocol(name), _port(port)
    if number[1] is not None and not number[0]:
        raise ValueError(f"'{text}' has a port without a protocol")
    return number


def with_protoport(selector: TrafficSelector, protocol: int, port: int | None) -> TrafficSelector:
    """The selector for one protocol and port only."""
    if selector.protocol or (selector.first_port, selector.last_port) != (0, 65535):
        raise ValueError("a subnet with a protocol and a protoport exclude each other")
    first, last = (0, 65535) if port is None else (port, port)
    return replace(selector, protocol=protocol, first_port=first, last_port=last)


def names(text: str) -> tuple[bytes, ...]:
    """Names separated by blanks or commas."""
    return tuple(word.encode() for word in _words(text))


def devices(text: str) -> tuple[str, ...]:
    """Names of network devices separated by blanks or commas."""
    for word in (words := _words(text)):
        if len(word) > _DEVICE_LENGTH or "/" in word or word in (".", ".."):
            raise ValueError(f"'{word}' is not the name of a network device")
    return tuple(words)


def _words(text: str) -> list[str]:
    words = text.replace(",", " ").split()
    if not words:
        raise ValueError("must not be empty")
    return words


def _subnet(text: str) -> TrafficSelector:
    words = text.split("/", 2)
    selector = TrafficSelector.of(_network("/".join(words[:2])))
    return with_protoport(selector, *protoport(words[2])) if len(words) == 3 else selector


def _network(text: str) -> IPNetwork:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"'{text}' is not a network such as 192.0.2.0/24 ({error})") from None


def _protocol(text: str) -> int:
    if text.lower() == "%any":
        return 0
    if _NUMBER.fullmatch(text) and int(text) <= 255:
        return int(text)
    if text.lower() not in _PROTOCOLS:
        raise ValueError(f"'{text}' is not a protocol: a number up to 255, %any, {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[text.lower()]


def _port(text: str) -> int | None:
    if text.lower() in ("", "0", "%any"):
        return None
    if not _NUMBER.fullmatch(text) or int(text) > 65535:
        raise ValueError(f"'{text}' is not a port: a number up to 65535 or %any")
    return int(text)
