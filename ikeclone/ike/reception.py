"""The guard before there is an IKE SA: what a stranger's first request gets, and how much work it may make."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.errors import InvalidSyntax, NoProposalChosen, PeerError
from ikeclone.ike.actions import Kind
from ikeclone.ike.cookies import Cookies
from ikeclone.ike.exchange import refusal
from ikeclone.ike.init import respond_init
from ikeclone.ike.intermediate import IntermediateResponder
from ikeclone.ike.opening import NO_SPI, HalfOpen
from ikeclone.ike.redirect import redirect_init
from ikeclone.ike.resumed import respond_resume
from ikeclone.ike.roaming import is_between
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.ike.tunnel import Tunnel
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Header, Message, build_message
from ikeclone.wire.payloads import Nonce, Notify

if TYPE_CHECKING:
    from ikeclone.ike.endpoint import Endpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answered:
    """A first request that was answered: the same request gets the same octets."""

    request: bytes
    response: bytes


class Reception:
    """The IKE SAs that await IKE_AUTH, `half_open`, and the requests that made them."""

    def __init__(self, endpoint: Endpoint, now: float) -> None:
        self._endpoint, self._host = endpoint, endpoint.host
        self._answered: dict[tuple[Path, bytes], _Answered] = {}
        self._cookies = Cookies(self._host.random, now)
        self.half_open: set[IkeSa] = set()

    @property
    def busy(self) -> bool:
        """Whether so many IKE SAs are half-open that this is perhaps an attack."""
        return len(self.half_open) >= self._host.settings.cookie_threshold

    def receive(self, message: Message, data: bytes, path: Path, now: float) -> None:
        """Take a first request, of IKE_SA_INIT or IKE_SESSION_RESUME."""
        header = message.header
        if not header.initiator or header.message_id != 0 or header.responder_spi != NO_SPI:
            self._host.count("bad ike_sa_init header")
            return
        answered = self._answered.get((path, header.initiator_spi))
        if answered is not None:
            if answered.request == data:
                self._host.send((answered.response,), path)
            else:
                self._host.count("ike_sa_init with a used spi")
            return
        try:
            self._open(message, data, path, now)
        except PeerError as error:
            self._refuse(header, refusal(error), path, str(error))
        except Exception:
            log.exception("first request from %s: internal error", path.remote)
            self._host.count("internal error")

    def authenticated(self, sa: IkeSa) -> None:
        """The peer of this IKE SA has proved who it is."""
        self.half_open.discard(sa)

    def forget(self, sa: IkeSa) -> None:
        """This IKE SA is gone, and its request a new one."""
        self.half_open.discard(sa)
        self._answered.pop((sa.init_path, sa.spi_i), None)

    def _open(self, message: Message, data: bytes, path: Path, now: float) -> None:
        settings = self._host.settings
        busy = self.busy
        if (away := redirect_init(self._host, message, path.local, busy=busy)) is not None:
            self._host.count("redirected")
            self._send(message.header, away, path)
            return
        if len(self.half_open) >= settings.half_open_limit:
            self._host.count("too many half-open ike sas")
            return
        if busy and not self._has_cookie(message, path, now):
            return
        opened, tunnels = self._respond(message, data, path, now)
        sa = opened.sa
        responder = sa.tunnel.half_open(sa, opened.record, tunnels)
        sa.handlers = IntermediateResponder(sa, opened.record, responder.respond).handlers()
        self._endpoint.register(sa)
        self.half_open.add(sa)
        self._answered[(path, sa.spi_i)] = _Answered(data, opened.record.response)
        self._host.timers.set(sa, "half-open", now + settings.half_open_lifetime, lambda at: self._close(sa, at))
        self._host.send((opened.record.response,), path)

    def _respond(self, message: Message, data: bytes, path: Path, now: float) -> tuple[HalfOpen, tuple[Tunnel, ...]]:
        if message.header.exchange is ExchangeType.IKE_SESSION_RESUME:
            opened = respond_resume(self._endpoint, message, data, path, now)
            return opened, (opened.sa.tunnel,)
        if not (tunnels := self._candidates(path)):
            raise NoProposalChosen(f"no connection between {path.local} and {path.remote}")
        return respond_init(tunnels, message, data, path, now), tunnels

    def _candidates(self, path: Path) -> tuple[Tunnel, ...]:
        """The connections between these addresses; the ones that name the peer first."""
        fitting = [tunnel for tunnel in self._endpoint.configured if is_between(tunnel, path)]
        return tuple(sorted(fitting, key=lambda t: t.connection.remote.address is None))

    def _close(self, sa: IkeSa, now: float) -> None:
        if sa.state is State.HALF_OPEN:
            sa.close(now, "the peer did not go on")
        else:
            self._answered.pop((sa.init_path, sa.spi_i), None)

    def _has_cookie(self, message: Message, path: Path, now: float) -> bool:
        nonce = message.require(Nonce).data
        spi = message.header.initiator_spi
        cookie = message.notify(NotifyType.COOKIE)
        if cookie is not None and self._cookies.check(cookie.data, spi, nonce, path, now):
            return True
        self._host.count("cookie demanded")
        self._send(message.header, Notify(NotifyType.COOKIE, self._cookies.make(spi, nonce, path, now)), path)
        return False

    def _refuse(self, header: Header, notify: Notify, path: Path, reason: str) -> None:
        self._host.count(f"ike_sa_init refused: {notify.type.name.lower()}")
        for tunnel in self._candidates(path)[:1]:
            tunnel.note(Kind.PROGRESS, f"refusing {path.remote}: {reason}")
        if notify.type != InvalidSyntax.notify:
            self._send(header, notify, path)

    def _send(self, request: Header, notify: Notify, path: Path) -> None:
        header = Header(request.initiator_spi, NO_SPI, request.exchange, request.message_id, False, True)
        self._host.send((build_message(header, (notify,)),), path)
