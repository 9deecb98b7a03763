"""Traffic selectors, ranges of addresses and ports, as the kernel's selectors: prefixes and masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from itertools import islice, product
from typing import Any, Final

from ikeclone.backend import BackendError, IPNetwork, TrafficSelector
from ikeclone_xfrm.structs import family, packed, unpacked

_MOST: Final = 256  # selectors of one policy: odd ranges take many, and each is a policy in three directions
_ICMP: Final = (1, 58)
_ANY_PORT: Final = (0, 65535)

Masked = tuple[int, int]


def selectors(sources: Sequence[TrafficSelector], targets: Sequence[TrafficSelector]) -> list[dict[str, Any]]:
    """The selectors that cover packets from any of `sources` to any of `targets`.

    Raises BackendError when that takes too many.
    """
    found = list(islice(_all(sources, targets), _MOST + 1))
    if len(found) > _MOST:
        raise BackendError(f"these selectors take more than {_MOST} policies: use whole networks and ports")
    return found


def _all(sources: Sequence[TrafficSelector], targets: Sequence[TrafficSelector]) -> Iterator[dict[str, Any]]:
    for left, right in product(sources, targets):
        protocol = _protocol(left, right)
        if protocol is None:
            continue
        networks = product(left.networks(), right.networks())
        for (source, target), (sport, dport) in product(networks, _ports(left, right, protocol)):
            if source.version == target.version:
                yield _selector(source, target, protocol, sport, dport)


def mirrored(selector: dict[str, Any]) -> dict[str, Any]:
    """The selector of packets the other way; the type and code of ICMP are where they were."""
    pairs = [("saddr", "daddr"), ("prefixlen_s", "prefixlen_d")]
    if selector["proto"] not in _ICMP:
        pairs += [("sport", "dport"), ("sport_mask", "dport_mask")]
    swapped = dict(pairs) | {there: here for here, there in pairs}
    return {swapped.get(name, name): value for name, value in selector.items()}


def packet(selector: Mapping[str, Any]) -> tuple[TrafficSelector, TrafficSelector]:
    """The traffic selectors of a packet, ours and the peer's, from the kernel's selector of it.

    They are for all of ICMP: a question of one type is answered by another.
    """
    ports = selector["sport"], selector["dport"]
    if not selector["sport_mask"] or selector["proto"] in _ICMP:
        ports = None, None
    ends = (ip_network(unpacked(selector[name], selector["family"])) for name in ("saddr", "daddr"))
    ours, theirs = (TrafficSelector.of(end, selector["proto"], port) for end, port in zip(ends, ports, strict=True))
    return ours, theirs


def port_masks(first: int, last: int) -> list[Masked]:
    """A range of ports as the fewest pairs of a value and a mask."""
    pieces = []
    while first <= last:
        size = first & -first or 0x10000
        while first + size - 1 > last:
            size >>= 1
        pieces.append((first, 0x10000 - size))
        first += size
    return pieces


def _selector(source: IPNetwork, target: IPNetwork, protocol: int, sport: Masked, dport: Masked) -> dict[str, Any]:
    return {
        "daddr": packed(target.network_address),
        "saddr": packed(source.network_address),
        "dport": dport[0],
        "dport_mask": dport[1],
        "sport": sport[0],
        "sport_mask": sport[1],
        "family": family(source.network_address),
        "prefixlen_d": target.prefixlen,
        "prefixlen_s": source.prefixlen,
        "proto": protocol,
    }


def _protocol(left: TrafficSelector, right: TrafficSelector) -> int | None:
    if left.protocol and right.protocol and left.protocol != right.protocol:
        return None
    return left.protocol or right.protocol


def _ports(left: TrafficSelector, right: TrafficSelector, protocol: int) -> list[tuple[Masked, Masked]]:
    """Source and target ports. ICMP's type and code, which IKE packs into one "port", are the kernel's two."""
    ranges = (left.first_port, left.last_port), (right.first_port, right.last_port)
    if protocol not in _ICMP:
        return list(product(port_masks(*ranges[0]), port_masks(*ranges[1])))
    first, last = next((ports for ports in ranges if ports != _ANY_PORT), _ANY_PORT)
    if (first, last) == _ANY_PORT:
        return [((0, 0), (0, 0))]
    if first >> 8 == last >> 8:
        return [((first >> 8, 0xFFFF), code) for code in port_masks(first & 0xFF, last & 0xFF)]
    if first & 0xFF or last & 0xFF != 0xFF:
        raise BackendError("a range over several types of ICMP has to have all of their codes")
    return [(kind, (0, 0)) for kind in port_masks(first >> 8, last >> 8)]
