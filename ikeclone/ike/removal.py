"""Connections that the configuration does not have any more, or has otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.ike.actions import Unroute
from ikeclone.ike.state import State

if TYPE_CHECKING:
    from ikeclone.ike.endpoint import Endpoint
    from ikeclone.ike.sa import IkeSa
    from ikeclone.ike.tunnel import Tunnel


class Removal:
    """Takes a connection down, with its instances, when it is made; `finish` ends what is left of it.

    Nobody gets it from then on, neither in IKE_AUTH nor by a ticket. Its name can be another connection's afterwards.
    """

    def __init__(self, endpoint: Endpoint, name: str, now: float) -> None:
        self._endpoint, self._tunnel = endpoint, endpoint.tunnels[name]
        endpoint.configured.remove(self._tunnel)
        endpoint.tickets.withdraw(name)
        for tunnel in self._all():
            tunnel.down(now)

    @property
    def done(self) -> bool:
        """Whether the peers know."""
        return not any(sa.state in (State.ESTABLISHED, State.REKEYED, State.DELETING) for sa in self._own())

    def finish(self, now: float) -> None:
        """Forget the connection, and the IKE SAs whose peers did not answer."""
        for sa in self._own():
            if sa.state is State.DEAD:
                self._endpoint.forget(sa)
            else:
                sa.lose(now, "its connection is gone")
        host, name = self._endpoint.host, self._tunnel.connection.name
        host.timers.cancel(self._tunnel)
        host.emit(Unroute(name))
        self._endpoint.tunnels.pop(name)

    def _all(self) -> tuple[Tunnel, ...]:
        return (*self._tunnel.instances, self._tunnel)

    def _own(self) -> list[IkeSa]:
        return [sa for tunnel in self._all() for sa in tunnel.own]
