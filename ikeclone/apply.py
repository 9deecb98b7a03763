"""The state machine's actions, done by a data plane."""

from __future__ import annotations

from ikeclone.backend import Backend, BackendError
from ikeclone.ike.actions import (
    ActivateChild,
    DeactivateChild,
    InstallChild,
    Kind,
    MoveChild,
    RemoveChild,
    Report,
    Route,
    SkipNumbers,
    Unroute,
)

_Change = ActivateChild | DeactivateChild | MoveChild | SkipNumbers
BackendAction = InstallChild | RemoveChild | Route | Unroute | _Change


class Applier:
    """Does actions, but for those that go on with a Child SA which the data plane did not take."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._refused: set[int] = set()

    def refutes(self, report: Report) -> bool:
        """Whether a report says of a Child SA that it is up, which the data plane did not take."""
        return report.kind in (Kind.CHILD_UP, Kind.CHILD_REKEYED) and report.child in self._refused

    async def do(self, action: BackendAction) -> None:
        """Do one action; raises BackendError when the data plane refuses."""
        match action:
            case ActivateChild(spi) | DeactivateChild(spi) | MoveChild(spi) | SkipNumbers(spi) if spi in self._refused:
                return
            case RemoveChild(spi):
                self._refused.discard(spi)
        try:
            await apply(self._backend, action)
        except BackendError:
            if isinstance(action, InstallChild):
                self._refused.add(action.sa.inbound_spi)
            raise


async def apply(backend: Backend, action: BackendAction) -> None:
    """Do one action; raises BackendError when the data plane refuses."""
    match action:
        case InstallChild(sa):
            await backend.install(sa)
        case ActivateChild(inbound_spi):
            await backend.activate(inbound_spi)
        case DeactivateChild(inbound_spi):
            await backend.deactivate(inbound_spi)
        case RemoveChild(inbound_spi):
            await backend.remove(inbound_spi)
        case MoveChild(inbound_spi, path, udp_encapsulation):
            await backend.move(inbound_spi, path, udp_encapsulation)
        case SkipNumbers(inbound_spi, count):
            await backend.skip(inbound_spi, count)
        case Route(policy):
            await backend.route(policy)
        case Unroute(connection):
            await backend.unroute(connection)
