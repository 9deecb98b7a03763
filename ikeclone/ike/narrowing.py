"""Traffic selector narrowing (RFC 7296 section 2.9)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network

from ikeclone.connection import Connection, End
from ikeclone.errors import TsUnacceptable
from ikeclone.selectors import IPAddress, TrafficSelector

Selectors = tuple[TrafficSelector, ...]


def of_end(end: End, address: IPAddress) -> Selectors:
    """What an end of a connection protects: its subnets, or the host itself."""
    return end.selectors or (TrafficSelector.of(ip_network(address)),)


def narrow(offered: Iterable[TrafficSelector], configured: Iterable[TrafficSelector]) -> Selectors:
    """What both an offer and the configuration cover, without parts that another part covers.

    Raises TsUnacceptable when that is nothing.
    """
    common = [c for ours in configured for theirs in offered if (c := ours.intersection(theirs))]
    if not common:
        raise TsUnacceptable
    return without_covered(common)


def without_covered(selectors: Iterable[TrafficSelector]) -> Selectors:
    """These, less those that another one covers."""
    kept: list[TrafficSelector] = []
    for selector in selectors:
        if not any(k.covers(selector) for k in kept):
            kept = [k for k in kept if not selector.covers(k)] + [selector]
    return tuple(kept)


def narrowed(connection: Connection, local: Selectors, remote: Selectors) -> Connection:
    """The connection for this traffic alone."""
    ends = replace(connection.local, selectors=local), replace(connection.remote, selectors=remote)
    return replace(connection, local=ends[0], remote=ends[1])


def within(answer: Iterable[TrafficSelector], offered: Selectors) -> Selectors:
    """A response's selectors, which must lie in what was offered; raises TsUnacceptable when they do not.

    Without parts that another part covers, such as a packet's (section 2.9).
    """
    selectors = tuple(answer)
    if not selectors or not all(any(o.covers(s) for o in offered) for s in selectors):
        raise TsUnacceptable("the response widens the traffic selectors")
    return without_covered(selectors)
