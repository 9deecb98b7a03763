"""The name servers that peers give us, put to use for as long as their connections are up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final

from ikeclone.backend import ChildSa
from ikeclone.ike.actions import Action, InstallChild, Route, Unroute
from ikeclone.ike.tunnel import Tunnel
from ikeclone.resolver import GROUP, Names, Resolver, Way

log = logging.getLogger(__name__)

LAST: Final = 10.0  # seconds that the resolver has to forget all when the daemon ends


class Naming:
    """Tells the resolver what there is at present, without making anybody wait."""

    def __init__(self, tunnels: Mapping[str, Tunnel], way: Way) -> None:
        self._tunnels = tunnels
        self._resolver = _find(way)
        self._names: dict[str, Names] = {}
        self._told: tuple[Names, ...] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Undo what an earlier daemon has left."""
        self._tell()

    def told(self, action: Action) -> None:
        """An action was done by the data plane."""
        match action:
            case InstallChild(sa):
                self._learn(sa)
            case Route(policy) if not policy.addresses:
                self._names.pop(policy.connection, None)
            case Unroute(connection):
                self._names.pop(connection, None)
            case _:
                return
        self._tell()

    async def stop(self) -> None:
        """Undo all of it, and wait for a while until that is done."""
        self._names.clear()
        self._tell()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=LAST)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _learn(self, sa: ChildSa) -> None:
        tunnel = self._tunnels.get(sa.connection)
        if tunnel is None or tunnel.connection.ignore_peer_dns or not (tunnel.irac.addresses and tunnel.irac.dns):
            return
        irac, interface = tunnel.irac, tunnel.connection.handling.interface
        device = None if interface is None else interface.name
        # Domains are for those whose other traffic goes elsewhere (RFC 8598 section 1).
        everything = any(not network.prefixlen for each in sa.remote for network in each.networks())
        domains = () if everything else irac.domains
        self._names[sa.connection] = Names(sa.connection, irac.dns, domains, irac.addresses[0], device)

    def _tell(self) -> None:
        if self._resolver is not None and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._work(self._resolver))

    async def _work(self, resolver: Resolver) -> None:
        while (wanted := tuple(self._names.values())) != self._told:
            await resolver.use(wanted)
            self._told = wanted


def _find(way: Way) -> Resolver | None:
    if way is Way.NO:
        return None
    for entry in entry_points(group=GROUP, name=way.value):
        resolver: Resolver = entry.load()()
        return resolver
    log.warning("dns-resolver=%s is not done: no plugin for it is installed", way.value)
    return None
