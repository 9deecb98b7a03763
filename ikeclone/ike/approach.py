"""How a connection comes to an IKE SA: it shares another's, waits for one that is on its way, or asks for its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.errors import LocalError, PeerError
from ikeclone.ike import crossing, sharing
from ikeclone.ike.actions import Kind
from ikeclone.ike.auth import Authenticate
from ikeclone.ike.init import Initiation
from ikeclone.ike.intermediate import Intermediate
from ikeclone.ike.opening import InitRecord, Opening
from ikeclone.ike.resume import Resumption
from ikeclone.ike.roaming import way
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import KeMethod

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


class Approach:
    """What a connection does before it has an IKE SA, or another one in the place of that which it has.

    `initiation` is its own IKE_SA_INIT or IKE_SESSION_RESUME that awaits its response; `awaits` is the connection whose
    IKE SA is on its way and will do for this one too.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel, self._endpoint, self._host = tunnel, tunnel.endpoint, tunnel.host
        self.initiation: Opening | None = None
        self.awaits: Tunnel | None = None
        self._alone = False

    @property
    def connecting(self) -> bool:
        """Whether an IKE SA is on its way, and there is none."""
        waiting = self.initiation is not None or self.awaits is not None
        return waiting or (self._tunnel.ike is None and bool(self._embryos()))

    @property
    def initiating(self) -> bool:
        """Whether an IKE SA that we ask for is not established yet, be there another or not."""
        return self.initiation is not None or bool(self._embryos())

    def _embryos(self) -> list[IkeSa]:
        return self._tunnel.sas(State.AUTHENTICATING)

    def start(self, now: float) -> None:
        """Start a new IKE SA, unless there is one to share; raises LocalError as `ask` does."""
        tunnel = self._tunnel
        if not self._alone and (sa := sharing.usable_by(tunnel)) is not None:
            tunnel.wanted = True
            tunnel.join(sa)
            if tunnel.ike_only:
                tunnel.note(Kind.IKE_UP, "the IKE SA of another connection is used")
            else:
                tunnel.openings.open_fallback(now)
        elif not self._alone and (other := sharing.under_way(tunnel, now)) is not None:
            self.awaits = other
            tunnel.note(Kind.PROGRESS, f"waiting for the IKE SA of {other.connection.name}")
        else:
            self.ask(now)

    def ask(self, now: float) -> None:
        """Ask for an IKE SA; raises LocalError as `check_means`."""
        tunnel = self._tunnel
        path = self.check_means()
        session = tunnel.resumption.usable(path, now)
        tunnel.note(Kind.PROGRESS, f"{'resuming the' if session else 'initiating an'} IKE SA with {path.remote}")
        self.initiation = Resumption(tunnel, path, session, now) if session else Initiation(tunnel, path, now)
        self._endpoint.register(self.initiation)

    def check_means(self) -> Path:
        """The way to the peer; raises LocalError without an address, a key or such a way."""
        path = way(self._tunnel)
        self._tunnel.proofs(path).check_means()
        return path

    def anew(self, now: float) -> None:
        """Ask for an IKE SA in another way than we did, as the peer wants it."""
        self.forget()
        try:
            self.ask(now)
        except LocalError as error:
            self._tunnel.note(Kind.FAILED, str(error))
            self._tunnel.revival.plan(now)

    def go_alone(self, now: float) -> bool:
        """The peer has no Child SA for us on another connection's IKE SA: try one of our own, if that is new."""
        tunnel = self._tunnel
        if tunnel.ike is None or tunnel.ike.tunnel is tunnel or self._alone or tunnel.is_part:
            return False
        tunnel.ike, self._alone = None, True
        self.start(now)
        return True

    def forget(self) -> None:
        """Await the response to IKE_SA_INIT or IKE_SESSION_RESUME no more."""
        if self.initiation is not None:
            self._endpoint.forget(self.initiation)
            self.initiation = None

    def stop(self, now: float) -> None:
        """Ask no more, and wait for nobody."""
        self.awaits = None
        if self.initiation is not None:
            self.initiation.fail(now, "taken down")
        for embryo in self._embryos():
            embryo.close(now, "taken down")

    def keyed(self, initiation: Opening, sa: IkeSa, record: InitRecord, now: float) -> None:
        """IKE_SA_INIT is done on our side."""
        self._endpoint.forget(initiation)
        self.initiation = None
        self._endpoint.register(sa)
        self.proceed(sa, record, sa.suite.additional, now)

    def proceed(self, sa: IkeSa, record: InitRecord, methods: tuple[KeMethod, ...], now: float) -> None:
        """Go on with the additional key exchanges that are left, or else with IKE_AUTH."""
        if not methods and crossing.holds_back(sa):
            due = now + self._host.settings.activation_delay
            self._host.timers.set(sa, "hold back", due, lambda at: self._start(sa, record, methods, at))
        else:
            self._start(sa, record, methods, now)

    def _start(self, sa: IkeSa, record: InitRecord, methods: tuple[KeMethod, ...], now: float) -> None:
        try:
            sa.enqueue(Intermediate(sa, record, methods) if methods else Authenticate(sa, record), now)
        except (LocalError, PeerError) as error:
            sa.close(now, str(error))

    def failed(self, initiation: Opening, now: float, reason: str) -> None:
        """IKE_SA_INIT led nowhere."""
        tunnel = self._tunnel
        self._endpoint.forget(initiation)
        self.initiation = None
        if tunnel.usable:
            tunnel.reauth.failed(now, reason)
        else:
            tunnel.revival.failed(reason, now)
            tunnel.revival.plan(now)
        sharing.disappoint(tunnel, now, reason)
        tunnel.end_if_unused()
