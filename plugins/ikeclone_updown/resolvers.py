"""Name servers that peers gave, for systemd-resolved or resolvconf(8), which get words and lines, but no shell does."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from socket import if_nameindex
from typing import Final

from ikeclone.resolver import Names
from ikeclone_updown.devices import device_of
from ikeclone_updown.process import run

log = logging.getLogger(__name__)

RECORD: Final = "ikeclone.ipsec"  # resolvconf's name of what we say
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
_ALL: Final = "~."  # for all names, and before any other servers (resolvectl(1))
_LOOPBACK: Final = "lo"


class Resolved:
    """ikeclone.resolver.Resolver: servers and domains of a tunnel's device, which takes them along when it goes."""

    def __init__(self) -> None:
        self._devices: set[str] = set()

    async def use(self, names: tuple[Names, ...]) -> None:
        """See the contract."""
        wanted: dict[str, list[Names]] = {}
        for each in names:
            device = each.device or await device_of(each.address)
            if device in (None, _LOOPBACK):
                log.warning(
                    "%s: dns-resolver=systemd needs a device of the tunnel: see ipsec-interface=", each.connection
                )
            else:
                wanted.setdefault(str(device), []).append(each)
        there = {name for _, name in if_nameindex()}
        for device in self._devices & there - wanted.keys():
            await _run("resolvectl", "revert", device)
        self._devices = set(wanted)
        for device, those in wanted.items():
            await _tell(device, _servers(those), _domains(those, _ALL))


class Resolvconf:
    """ikeclone.resolver.Resolver: one record for all connections, which the next daemon finds if this one crashes."""

    async def use(self, names: tuple[Names, ...]) -> None:
        """See the contract."""
        if not names:
            await _run("resolvconf", "-d", RECORD)
            return
        lines = [f"nameserver {server}" for server in _servers(names)]
        if domains := _domains(names):
            lines.append(f"search {' '.join(domains)}")
        await _run("resolvconf", "-a", RECORD, text="".join(f"{line}\n" for line in lines).encode())


async def _tell(device: str, servers: list[str], domains: list[str]) -> None:
    """Servers that know of some domains are not asked about any others (RFC 8598 section 4)."""
    await _run("resolvectl", "dns", device, *servers)
    await _run("resolvectl", "domain", device, *domains)
    await _run("resolvectl", "default-route", device, "yes" if _ALL in domains else "no")


def _servers(names: Iterable[Names]) -> list[str]:
    return list(dict.fromkeys(str(server) for each in names for server in each.servers))


def _domains(names: Iterable[Names], *otherwise: str) -> list[str]:
    """The domains of all of them, and what stands for none."""
    return list(dict.fromkeys(domain for each in names for domain in each.domains or otherwise))


async def _run(*command: str, text: bytes = b"") -> None:
    await run(" ".join(command[:2]), command, {"PATH": os.environ.get("PATH", _PATH)}, text)
