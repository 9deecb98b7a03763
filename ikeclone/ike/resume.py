"""IKE_SESSION_RESUME: an IKE SA that was lost comes back without key exchange, certificates or EAP (RFC 5723)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.connection import Identity
from ikeclone.crypto.keys import resumed_ike_keys
from ikeclone.errors import AuthenticationFailed, InvalidSyntax, PeerError
from ikeclone.ike import childless
from ikeclone.ike.actions import Kind
from ikeclone.ike.authentication import Checker, Prover, Resumed
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.negotiation import NONCE_SIZE
from ikeclone.ike.opening import NO_SPI, HalfOpen, InitRecord, Opening, found, manners
from ikeclone.ike.proofs import Proofs
from ikeclone.ike.sa import IkeSa, State
from ikeclone.ike.tickets import Session
from ikeclone.numbers import AuthMethod, ExchangeType, NotifyType
from ikeclone.wire.message import Header, Message, build_message
from ikeclone.wire.payloads import CertRequest, IdI, Nonce, Notify

if TYPE_CHECKING:
    from datetime import datetime

    from ikeclone.ike.endpoint import Endpoint
    from ikeclone.ike.tunnel import Tunnel

_LIFETIME_SIZE = 4
_MAX_TICKET = 8192


class Resumption(Opening):
    """IKE_SESSION_RESUME with a ticket of ours."""

    type = ExchangeType.IKE_SESSION_RESUME

    def __init__(self, tunnel: Tunnel, path: Path, session: Session, now: float) -> None:
        self._session = session
        super().__init__(tunnel, path, now)

    def payloads(self) -> Payloads:
        ticket = Notify(NotifyType.TICKET_OPAQUE, self._session.ticket)
        return (Nonce(self.nonce), ticket, *manners(self.tunnel, self.local_spi, NO_SPI, self.path))

    def take(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        # A ticket is used once, whatever comes of it.
        self.tunnel.session = None
        if message.notify(NotifyType.TICKET_NACK) is not None:
            self.tunnel.note(Kind.PROGRESS, "the peer does not take our ticket")
            self.tunnel.ask_anew(now)
            return
        if message.header.responder_spi == NO_SPI:
            raise InvalidSyntax("the IKE_SESSION_RESUME response does not fit the request")
        nonces = self.nonce, message.require(Nonce).data
        session, spis = self._session, (self.local_spi, message.header.responder_spi)
        without = childless.agreed(self.tunnel, message)
        record = InitRecord(self.request, datagram, *nonces, childless=without, session=session)
        suite = replace(session.suite, additional=())
        self.keyed(suite, resumed_ike_keys(suite, session.sk_d, *nonces, *spis), record, message, path, now)

    def fail(self, now: float, reason: str) -> None:
        self.tunnel.session = None
        super().fail(now, reason)


class TicketRefused(PeerError):
    """A ticket that stands for nothing: the peer starts from the beginning."""

    notify = NotifyType.TICKET_NACK


def respond_resume(endpoint: Endpoint, message: Message, datagram: bytes, path: Path, now: float) -> HalfOpen:
    """Answer IKE_SESSION_RESUME; raises TicketRefused."""
    ticket = message.notify(NotifyType.TICKET_OPAQUE)
    session = None if ticket is None else endpoint.tickets.session(ticket.data, now)
    tunnel = None if session is None else endpoint.tunnels.get(session.connection)
    if session is None or tunnel is None:
        raise TicketRefused("its ticket is unknown")
    host, spi_i, spi_r = tunnel.host, message.header.initiator_spi, tunnel.host.spi()
    nonces = message.require(Nonce).data, host.random(NONCE_SIZE)
    payloads = (Nonce(nonces[1]), *manners(tunnel, spi_i, spi_r, path), *childless.announce((tunnel,)))
    header = Header(spi_i, spi_r, ExchangeType.IKE_SESSION_RESUME, 0, False, True)
    response = build_message(header, payloads)
    suite = replace(session.suite, additional=())
    sa = IkeSa(
        host,
        tunnel,
        State.HALF_OPEN,
        initiator=False,
        spis=(spi_i, spi_r),
        suite=suite,
        keys=resumed_ike_keys(suite, session.sk_d, *nonces, spi_i, spi_r),
        path=path,
        abilities=found(tunnel, message, path),
        now=now,
    )
    return HalfOpen(sa, InitRecord(datagram, response, *nonces, session=session))


@dataclass(frozen=True, slots=True)
class ResumedProofs(Proofs):
    """The two sides of a connection when they have proved who they are before: their keys are proof enough."""

    session: Session

    def prover(self, peer: Identity | None) -> Prover:
        return Resumed()

    def certificates(self, requests: Iterable[CertRequest]) -> Payloads:
        return ()

    def requests(self) -> tuple[CertRequest, ...]:
        return ()

    def checker(self, method: AuthMethod, peer: Identity, message: Message, now: datetime) -> Checker:
        if peer != self.session.presented:
            raise AuthenticationFailed(f"the peer is {peer}, and it was {self.session.presented}")
        return Resumed()


def proofs(tunnel: Tunnel, path: Path, session: Session | None) -> Proofs:
    """What proves who both are: what the connection says or, in a resumption, the former IKE SA."""
    said = tunnel.proofs(path)
    if session is None:
        return said
    return ResumedProofs(said.connection, said.credentials, said.standing, said.local, said.remote, session)


# Tickets, in IKE_AUTH


def ask(tunnel: Tunnel) -> Payloads:
    """That we want a ticket."""
    return (Notify(NotifyType.TICKET_REQUEST),) if tunnel.connection.resumption else ()


def give(sa: IkeSa, request: Message, record: InitRecord, now: float) -> Payloads:
    """The ticket that the peer wants, if the connection has them; a resumed IKE SA lasts no longer than the first."""
    tunnel, wanted = sa.tunnel, request.notify(NotifyType.TICKET_REQUEST)
    if wanted is None or not tunnel.connection.resumption or sa.identities is None:
        return ()
    identity = request.require(IdI)
    lifetime = tunnel.connection.timing.ike_lifetime
    session = Session(
        connection=_name(tunnel),
        presented=Identity(identity.type, identity.data),
        peer=sa.identities[1],
        suite=sa.suite,
        expires=now + lifetime if record.session is None else record.session.expires,
        gateway=sa.path.local,
        sk_d=sa.keys.sk_d,
    )
    ticket = tunnel.endpoint.tickets.issue(session)
    left = max(0, int(session.expires - now))
    return (Notify(NotifyType.TICKET_LT_OPAQUE, left.to_bytes(_LIFETIME_SIZE, "big") + ticket),)


def keep(sa: IkeSa, response: Message, peer: Identity, now: float) -> None:
    """Keep the ticket that the peer gives."""
    given = response.notify(NotifyType.TICKET_LT_OPAQUE)
    if given is None or not sa.tunnel.connection.resumption:
        return
    lifetime, ticket = int.from_bytes(given.data[:_LIFETIME_SIZE], "big"), given.data[_LIFETIME_SIZE:]
    if not 0 < len(ticket) <= _MAX_TICKET:
        return
    sa.tunnel.session = Session(
        _name(sa.tunnel), peer, peer, sa.suite, now + lifetime, sa.path.remote, sa.keys.sk_d, ticket
    )


def usable(tunnel: Tunnel, path: Path, now: float) -> Session | None:
    """What can be resumed on this path; not while the IKE SA is there, as then both sides are to prove who they are."""
    session = tunnel.session
    if session is None or tunnel.usable or session.gateway != path.remote or now >= session.expires:
        return None
    return session


def forget(tunnel: Tunnel) -> None:
    """The IKE SA of a connection was deleted: nobody resumes it."""
    tunnel.session = None
    tunnel.endpoint.tickets.forget(_name(tunnel), tunnel.peer)


def _name(tunnel: Tunnel) -> str:
    return tunnel.parts.configured.connection.name
