"""What a command is told, in variables that are named as Libreswan's scripts know them (ipsec-updown(8)).

Those for each of several addresses, which end in a number from 1 on, are named as strongSwan's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from itertools import product

from ikeclone.updown import Change, IPAddress, Mode, TrafficSelector, Verb

_STEPS = {Verb.ROUTE: ("prepare", "route")}
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# A peer's name may have any character; scripts may hand it to a shell.
_UNSAFE = frozenset("'\"`$\\;&|<>")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: for one step and one pair of selectors. The step is what PLUTO_VERB says."""

    step: str
    environment: dict[str, str]


def runs(change: Change, device: str | None) -> Iterator[Run]:
    """Each run of a change's command, in order. `device` is the one that has our address."""
    policy = change.policy
    pairs = [pair for pair in product(policy.local, policy.remote) if len({each.first.version for each in pair}) == 1]
    common = _connection(change) | _given(change) | {"PLUTO_INTERFACE": device or "NULL"}
    for step in _STEPS.get(change.verb, (change.verb.value,)):
        for local, remote in pairs:
            verb = step + _suffix(local, policy.path.local)
            more = _end("MY", local) | _end("PEER", remote)
            family = {"PLUTO_CLIENT_FAMILY": f"ipv{local.first.version}"}
            yield Run(verb, {"PLUTO_VERB": verb, **common, **family, **more, **_source(change, local)})


def _suffix(local: TrafficSelector, host: IPAddress) -> str:
    """For whom it is: this host, or clients behind it."""
    whose = "host" if local.first == local.last == host else "client"
    return f"-{whose}" + ("-v6" if local.first.version == 6 else "")


def _connection(change: Change) -> dict[str, str]:
    policy = change.policy
    handling = policy.handling
    device = handling.interface.name if handling.interface is not None else "NULL"
    found = {
        "PATH": os.environ.get("PATH", _PATH),
        "PLUTO_CONNECTION": change.connection,
        "PLUTO_CONNECTION_TYPE": "tunnel" if policy.mode is Mode.TUNNEL else "transport",
        "PLUTO_VIRT_INTERFACE": device,
        "PLUTO_XFRMI_ROUTE": "yes" if handling.interface is not None else "",
        "PLUTO_STACK": change.data_plane,
        "PLUTO_SA_TYPE": "ESP" if change.verb in (Verb.UP, Verb.DOWN) else "none",
        "PLUTO_CONN_ADDRFAMILY": f"ipv{policy.path.local.version}",
        "PLUTO_ME": str(policy.path.local),
        "PLUTO_MY_ID": _safe(change.local_id),
        "PLUTO_PEER": str(policy.path.remote),
        "PLUTO_PEER_ID": _safe(change.remote_id),
        "PLUTO_MOBIKE_EVENT": "yes" if change.roamed else "",
    }
    if handling.interface is not None and handling.interface.addresses:
        found["INTERFACE_IP"] = str(handling.interface.addresses[0])
    marks = (("CONNMARK_IN", handling.mark_in), ("CONNMARK_OUT", handling.mark_out))
    return found | {name: f"{mark.value}/{mark.mask:#010x}" for name, mark in marks if mark is not None}


def _given(change: Change) -> dict[str, str]:
    """What configuration payloads gave to either side."""
    given = change.given
    first = {"PLUTO_PEER_SOURCEIP": str(given.leased[0])} if given.leased else {}
    return {
        "PLUTO_CFG_CLIENT": str(int(given.asks)),
        "PLUTO_CFG_SERVER": str(int(given.serves)),
        "PLUTO_PEER_DNS_INFO": " ".join(map(str, given.dns)),
        "PLUTO_PEER_DOMAIN_INFO": " ".join(given.domains),
        **first,
        **_numbered("PLUTO_DNS", given.dns),
        **_numbered("PLUTO_MY_SOURCEIP", change.policy.addresses),
        **_numbered("PLUTO_PEER_SOURCEIP", given.leased),
    }


def _numbered(name: str, addresses: tuple[IPAddress, ...]) -> dict[str, str]:
    of_version = {version: [each for each in addresses if each.version == version] for version in (4, 6)}
    return {
        f"{name}{version}_{number}": str(address)
        for version, found in of_version.items()
        for number, address in enumerate(found, 1)
    }


def _end(whose: str, selector: TrafficSelector) -> dict[str, str]:
    """What an end's variables say. An address range that is no network is told as the one around it."""
    networks = selector.networks()
    around = networks[0]
    while selector.last not in around:
        around = around.supernet()
    client = str(around) if len(networks) == 1 else f"{selector.first}-{selector.last}"
    port = selector.first_port if selector.first_port == selector.last_port else 0
    return {
        f"PLUTO_{whose}_CLIENT": client,
        f"PLUTO_{whose}_CLIENT_NET": str(around.network_address),
        f"PLUTO_{whose}_CLIENT_MASK": str(ip_network(around).netmask),
        f"PLUTO_{whose}_PORT": str(port),
        f"PLUTO_{whose}_PROTOCOL": str(selector.protocol),
    }


def _source(change: Change, local: TrafficSelector) -> dict[str, str]:
    source = change.policy.source_for(local.first.version)
    return {} if source is None else {"PLUTO_MY_SOURCEIP": str(source)}


def _safe(name: str) -> str:
    return "".join(each if each.isprintable() and each not in _UNSAFE else "?" for each in name)
