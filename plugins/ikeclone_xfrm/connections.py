"""Connections as the kernel knows them: by reqids, and by the policies that lead their traffic to their states."""

from __future__ import annotations

from collections.abc import Callable

from ikeclone.backend import BackendError, ChildSa, Policy
from ikeclone_xfrm.reqids import Reqids
from ikeclone_xfrm.session import Session
from ikeclone_xfrm.trap import Trap


class Connections:
    """Their reqids and traps by name; `rearm` is called with a trap whose pause is over."""

    def __init__(self, rearm: Callable[[Trap], None]) -> None:
        self._rearm = rearm
        self._reqids = Reqids()
        self._traps: dict[str, Trap] = {}
        self._refused: dict[str, str] = {}  # why a connection's policy is not in force

    def reqid(self, connection: str) -> int:
        """What a connection's states and policies have in common."""
        return self._reqids.of(connection)

    def whole(self, of: Policy | ChildSa) -> int | None:
        """The reqid of the connection that this is a part of: its parts have in common what receives."""
        return self._reqids.of(of.whole) if of.whole is not None else None

    def left(self, connection: str) -> None:
        """A connection and its parts have no states any more."""
        if not any(connection in (trap.policy.connection, trap.policy.whole) for trap in self._traps.values()):
            self._reqids.give_back(connection)

    def trap(self, connection: str) -> Trap | None:
        """A connection's trap, if its traffic is routed."""
        return self._traps.get(connection)

    def trap_of(self, reqid: int) -> Trap | None:
        """The trap of the packets that leave with this reqid."""
        return next((trap for trap in self._traps.values() if trap.reqid == reqid), None)

    def traps_with(self, reqid: int) -> list[Trap]:
        """All traps with policies of this reqid."""
        return [trap for trap in self._traps.values() if reqid in (trap.reqid, trap.whole)]

    def traps(self) -> list[Trap]:
        return list(self._traps.values())

    async def route(self, policy: Policy, session: Session) -> None:
        """Have a connection's policies and routes as this says; raises BackendError."""
        name = policy.connection
        trap = self._traps.get(name)
        if trap is None:
            whole = self.whole(policy)
            trap = self._traps[name] = Trap(session.shelf, policy, self.reqid(name), self._rearm, whole)
        self._refused.pop(name, None)
        try:
            await session.placement.route(trap, policy)
            await session.routes.add(policy)
        except BackendError as error:
            self._refused[name] = str(error)
            raise

    async def unroute(self, connection: str, session: Session) -> None:
        """Undo `route`; raises BackendError."""
        await self._traps.pop(connection).remove()
        await session.routes.remove(connection)

    def check(self, connection: str) -> None:
        """Raise BackendError, with the reason, when a connection's policies are not in force."""
        if connection in self._refused:
            raise BackendError(self._refused[connection])

    def clear(self) -> None:
        """Forget all of them."""
        for trap in self._traps.values():
            trap.rest()
        for known in (self._reqids, self._traps, self._refused):
            known.clear()
