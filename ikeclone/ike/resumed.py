"""The gateway's part in IKE_SESSION_RESUME, and what proves who both are in the IKE_AUTH after it (RFC 5723)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.connection import Identity
from ikeclone.crypto.keys import resumed_ike_keys
from ikeclone.errors import AuthenticationFailed, PeerError
from ikeclone.ike import childless
from ikeclone.ike.authentication import Checker, Prover, Resumed
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.negotiation import NONCE_SIZE
from ikeclone.ike.opening import HalfOpen, InitRecord, half_open, manners
from ikeclone.ike.proofs import Proofs
from ikeclone.ike.redirect import can_be_redirected
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.ike.tickets import Session
from ikeclone.numbers import AuthMethod, ExchangeType, NotifyType
from ikeclone.wire.message import Header, Message, build_message
from ikeclone.wire.payloads import CertRequest, Nonce

if TYPE_CHECKING:
    from datetime import datetime

    from ikeclone.ike.endpoint import Endpoint
    from ikeclone.ike.tunnel import Tunnel


class TicketRefused(PeerError):
    """A ticket that stands for nothing: the peer starts from the beginning (section 4.3.2)."""

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
    keys = resumed_ike_keys(suite, session.sk_d, *nonces, spi_i, spi_r)
    sa = half_open(tunnel, message, path, spi_r, suite, keys, now)
    sa.redirectable = can_be_redirected(message)
    return HalfOpen(sa, InitRecord(datagram, response, *nonces, session=session))


@dataclass(frozen=True, slots=True)
class ResumedProofs(Proofs):
    """The two sides of a connection when they have proved who they are before: their keys are proof enough.

    These are made of a PPK if the connection insists on one, as the former keys were.
    """

    session: Session
    proof: Resumed
    insists_on_ppk = False

    def prover(self, peer: Identity | None) -> Prover:
        return self.proof

    def certificates(self, requests: Iterable[CertRequest]) -> Payloads:
        return ()

    def requests(self) -> tuple[CertRequest, ...]:
        return ()

    def checker(self, method: AuthMethod, peer: Identity, message: Message, now: datetime) -> Checker:
        if peer != self.session.presented:
            raise AuthenticationFailed(f"the peer is {peer}, and it was {self.session.presented}")
        return self.proof


def proofs(tunnel: Tunnel, path: Path, session: Session | None) -> Proofs:
    """What proves who both are: what the connection says or, in a resumption, the former IKE SA."""
    said = tunnel.proofs(path)
    if session is None:
        return said
    proof = Resumed(tunnel.resumption.short)
    return ResumedProofs(said.connection, said.credentials, said.standing, said.local, said.remote, session, proof)


def drop_former(sa: IkeSa, now: float) -> None:
    """A client that resumes an IKE SA has it no more: it goes without a word (section 4.3.4)."""
    for former in sa.tunnel.sas(State.ESTABLISHED, State.REKEYED):
        if former is not sa and former.established <= sa.created:
            former.lose(now, f"resumed as #{sa.serial}")
