"""IKE_SESSION_RESUME: an IKE SA that was lost comes back without key exchange, certificates or EAP (RFC 5723).

Here is what the client does; the gateway's part is in `resumed.py` and `tickets.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.crypto.keys import resumed_ike_keys
from ikeclone.errors import AuthenticationFailed, InvalidSyntax, PeerError
from ikeclone.ike import childless
from ikeclone.ike.actions import Kind
from ikeclone.ike.exchange import Exchange, Payloads, raise_refusal
from ikeclone.ike.opening import NO_SPI, InitRecord, Opening, manners
from ikeclone.ike.tickets import LIFETIME_SIZE, Session, name_of
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Nonce, Notify

if TYPE_CHECKING:
    from ikeclone.ike.sa import IkeSa
    from ikeclone.ike.tunnel import Tunnel

MOST_TRIES = 3
# Seconds: tickets are not asked for more often, nor for so little.
SLACK = 60.0
_MAX_TICKET = 8192


class Client:
    """What a connection keeps of its IKE SA for a resumption.

    `short` chooses what our AUTH payload covers (see `Resumed`): what the peer took the last time.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.session: Session | None = None
        self.short = False

    def ask(self) -> Payloads:
        """That we want a ticket, in IKE_AUTH."""
        return (Notify(NotifyType.TICKET_REQUEST),) if self._tunnel.connection.resumption else ()

    def keep(self, sa: IkeSa, response: Message, now: float) -> None:
        """Keep the ticket that the peer gives, or ask for the one that it promises (section 4.1)."""
        if not self._tunnel.connection.resumption or sa.identities is None:
            return
        given = response.notify(NotifyType.TICKET_LT_OPAQUE)
        if given is not None and LIFETIME_SIZE < len(given.data) <= LIFETIME_SIZE + _MAX_TICKET:
            peer, lifetime = sa.identities[1], int.from_bytes(given.data[:LIFETIME_SIZE], "big")
            former = self.session
            self.session = Session(
                name_of(self._tunnel),
                peer,
                peer,
                sa.suite,
                now + lifetime,
                sa.path.remote,
                sa.keys.sk_d,
                given.data[LIFETIME_SIZE:],
            )
            if former is None or former.sk_d != sa.keys.sk_d or former.expires + SLACK < self.session.expires:
                self._renew_later(sa, self.session, now)
        elif response.notify(NotifyType.TICKET_ACK) is not None:
            sa.enqueue(TicketRequest(sa), now)

    def _renew_later(self, sa: IkeSa, session: Session, now: float) -> None:
        """Ask for another ticket when this one is about to expire (section 4.1)."""
        left = (session.expires - now) * (0.8 + 0.1 * sa.host.fraction())
        sa.host.timers.set(sa, "ticket", now + max(left, SLACK), lambda at: self._renew(sa, session, at))

    def _renew(self, sa: IkeSa, session: Session, now: float) -> None:
        """Ask for another ticket, unless this one is used or lasts as long as the IKE SA."""
        ends = sa.host.timers.when(sa, "expire") or 0.0
        if self.session is session and session.expires + SLACK < ends:
            sa.enqueue(TicketRequest(sa), now)

    def usable(self, path: Path, now: float) -> Session | None:
        """What can be resumed on this path; not while the IKE SA is there, as then both are to prove who they are."""
        session = self.session
        if session is None or self._tunnel.usable or session.gateway != path.remote or now >= session.expires:
            return None
        return session

    def unanswered(self) -> None:
        """Nobody has answered: a ticket is not used by that, but a gateway may be one no more that knows of them."""
        if self.session is not None:
            tries = self.session.unanswered + 1
            self.session = replace(self.session, unanswered=tries) if tries < MOST_TRIES else None

    def refused(self, error: PeerError) -> None:
        """The gateway refuses our proof: it may be one that wants it the other way (see `Resumed`)."""
        if isinstance(error, AuthenticationFailed):
            self.short = not self.short

    def rekeyed(self, new: IkeSa, now: float) -> None:
        """Tickets were the former IKE SA's; who had one gets one of the new one (section 6.2)."""
        self._tunnel.endpoint.tickets.forget(name_of(self._tunnel), self._tunnel.peer)
        if self.session is not None:
            self.session = None
            new.enqueue(TicketRequest(new), now)

    def forget(self) -> None:
        """The IKE SA was deleted: nobody resumes it, neither we nor the peer."""
        self.session = None
        self._tunnel.endpoint.tickets.forget(name_of(self._tunnel), self._tunnel.peer)


class TicketRequest(Exchange):
    """Ask for a ticket on an IKE SA that is there (section 4.1)."""

    type = ExchangeType.INFORMATIONAL

    def request(self, now: float) -> Payloads:
        return (Notify(NotifyType.TICKET_REQUEST),)

    def response(self, message: Message, now: float) -> None:
        # Who puts us off again does not get another request.
        if message.notify(NotifyType.TICKET_ACK) is None:
            self.sa.tunnel.resumption.keep(self.sa, message, now)

    def failed(self, error: PeerError, now: float) -> None:
        return


class Resumption(Opening):
    """IKE_SESSION_RESUME with a ticket of ours (section 4.3.2)."""

    type = ExchangeType.IKE_SESSION_RESUME

    def __init__(self, tunnel: Tunnel, path: Path, session: Session, now: float) -> None:
        self._session = session
        super().__init__(tunnel, path, now)

    def payloads(self) -> Payloads:
        ticket = Notify(NotifyType.TICKET_OPAQUE, self._session.ticket)
        redirect = self.tunnel.redirects.announce()
        return (Nonce(self.nonce), ticket, *manners(self.tunnel, self.local_spi, NO_SPI, self.path), *redirect)

    def take(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        if self.tunnel.redirects.before_auth(message, self.nonce, self.path.remote, now):
            return
        # Once the gateway has seen a ticket, it is presented no more: it would tell who we are (section 9.10).
        self.tunnel.resumption.session = None
        try:
            record = self._record(message, datagram)
        except PeerError as error:
            self.tunnel.note(Kind.PROGRESS, f"not resumed: {error}")
            self.tunnel.approach.anew(now)
            return
        suite = replace(self._session.suite, additional=())
        spis = self.local_spi, message.header.responder_spi
        keys = resumed_ike_keys(suite, self._session.sk_d, record.nonce_i, record.nonce_r, *spis)
        self.keyed(suite, keys, record, message, path, now)

    def _record(self, message: Message, datagram: bytes) -> InitRecord:
        """What the response leads to; raises PeerError if that is no resumption."""
        if message.notify(NotifyType.TICKET_NACK) is not None:
            raise InvalidSyntax("the peer does not take our ticket")
        raise_refusal(message)
        if message.header.responder_spi == NO_SPI:
            raise InvalidSyntax("the IKE_SESSION_RESUME response does not fit the request")
        nonces = self.nonce, message.require(Nonce).data
        without = childless.agreed(self.tunnel, message)
        return InitRecord(self.request, datagram, *nonces, childless=without, session=self._session)

    def fail(self, now: float, reason: str) -> None:
        self.tunnel.resumption.unanswered()
        super().fail(now, reason)
