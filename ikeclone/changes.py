"""The state machine's actions, as changes of connections that their updown commands are told of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from typing import Final

from ikeclone.backend import Path, Policy
from ikeclone.ike.actions import Action, InstallChild, MoveChild, RemoveChild, Route, Unroute
from ikeclone.ike.proofs import local_identity, remote_identity
from ikeclone.ike.tunnel import Tunnel
from ikeclone.updown import GROUP, Change, Given, Updown, Verb

log = logging.getLogger(__name__)

LAST: Final = 10.0  # seconds that commands have to end when the daemon does
_UNDONE: Final = {Verb.DOWN: Verb.UP, Verb.UNROUTE: Verb.ROUTE}


@dataclass(slots=True)
class _Routed:
    """A connection whose traffic is routed, and the inbound SPIs of its Child SAs.

    `given` is what the last step up was told, and so what the steps down are.
    """

    tunnel: Tunnel
    policy: Policy
    spis: set[int] = field(default_factory=set)
    given: Given = field(default_factory=Given)


class Changes:
    """Tells the installed plugin, a connection's changes one after the other, without making anybody wait."""

    def __init__(self, tunnels: Mapping[str, Tunnel], data_plane: str) -> None:
        self._tunnels, self._data_plane = tunnels, data_plane
        self._updown = _find()
        self._routed: dict[str, _Routed] = {}
        self._pending: dict[str, list[Change]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def told(self, action: Action) -> None:
        """An action was done by the data plane."""
        match action:
            case Route(policy):
                self._route(policy)
            case InstallChild(sa) if routed := self._routed.get(sa.connection):
                if not routed.spis:
                    self._tell(Verb.UP, routed)
                routed.spis.add(sa.inbound_spi)
            case RemoveChild(spi) if routed := self._owner(spi):
                routed.spis.remove(spi)
                if not routed.spis:
                    self._tell(Verb.DOWN, routed)
            case MoveChild(spi, path) if routed := self._owner(spi):
                self._move(routed, path)
            case Unroute(connection) if routed := self._routed.pop(connection, None):
                self._end(routed)

    async def stop(self) -> None:
        """Tell that everything goes, and wait for a while until that is done."""
        for routed in self._routed.values():
            self._end(routed)
        self._routed.clear()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _route(self, policy: Policy) -> None:
        routed = self._routed.get(policy.connection)
        if routed is None:
            if (tunnel := self._tunnels.get(policy.connection)) is None:
                return  # gone before this was done
            routed = self._routed[policy.connection] = _Routed(tunnel, policy)
            self._tell(Verb.ROUTE, routed)
        elif (policy.local, policy.remote) != (routed.policy.local, routed.policy.remote):
            self._tell(Verb.UNROUTE, routed)
            routed.policy = policy
            self._tell(Verb.ROUTE, routed)
        elif not routed.spis:
            routed.policy = policy

    def _move(self, routed: _Routed, path: Path) -> None:
        former = routed.policy.path
        if (path.local, path.remote) == (former.local, former.remote):
            return
        self._tell(Verb.DOWN, routed, roamed=True)
        routed.policy = replace(routed.policy, path=path)
        self._tell(Verb.UP, routed, roamed=True)

    def _end(self, routed: _Routed) -> None:
        if routed.spis:
            self._tell(Verb.DOWN, routed)
        self._tell(Verb.UNROUTE, routed)

    def _owner(self, spi: int) -> _Routed | None:
        return next((routed for routed in self._routed.values() if spi in routed.spis), None)

    def _tell(self, verb: Verb, routed: _Routed, *, roamed: bool = False) -> None:
        """Have a change told after those that wait; one that only undoes the last of them makes both needless.

        So no connection ever has more than a few that wait.
        """
        tunnel, policy = routed.tunnel, routed.policy
        command = tunnel.connection.local.updown
        if not command:
            return
        if self._updown is None:
            log.warning("%s: leftupdown= is not run: no plugin for it is installed", policy.connection)
            return
        if verb in (Verb.ROUTE, Verb.UP):
            routed.given = _given(tunnel)
        name = tunnel.parts.configured.connection.name
        local = local_identity(tunnel.connection, policy.path.local)
        remote = tunnel.peer or remote_identity(tunnel.connection, policy.path.remote)
        ids = str(local), str(remote or "%any")
        change = Change(verb, command, name, policy, *ids, self._data_plane, roamed, routed.given)
        waiting = self._pending.get(policy.connection)
        if waiting is None:
            self._pending[policy.connection] = [change]
            task = asyncio.get_running_loop().create_task(self._work(self._updown, policy.connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif waiting and waiting[-1].verb is _UNDONE.get(verb):
            waiting.pop()
        else:
            waiting.append(change)

    async def _work(self, updown: Updown, connection: str) -> None:
        while waiting := self._pending[connection]:
            await updown.run(waiting.pop(0))
        del self._pending[connection]


def _given(tunnel: Tunnel) -> Given:
    ends, irac = tunnel.connection, tunnel.irac
    leased = tuple(tunnel.iras.leased.values())
    return Given(ends.local.asks, bool(ends.remote.pools), irac.dns, irac.domains, leased)


def _find() -> Updown | None:
    for entry in entry_points(group=GROUP):
        updown: Updown = entry.load()()
        return updown
    return None
