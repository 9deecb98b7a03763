"""What is kept of an IKE SA for its resumption, and the tickets that a gateway gives for it (RFC 5723)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ikeclone.connection import Identity
from ikeclone.crypto.suite import IkeSuite
from ikeclone.errors import AuthenticationFailed
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import NotifyType
from ikeclone.selectors import IPAddress
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Notify

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel

SIZE = 32
MOST = 4096
LIFETIME_SIZE = 4


@dataclass(frozen=True, slots=True)
class Session:
    """An IKE SA of a connection as either end remembers it.

    `presented` is the identity that the peer's ID payload had, `peer` the one that it proved, which after EAP is
    another. `gateway` is where the ticket is good, `sk_d` the key that the keys of its successors are made of;
    `unanswered` says how often the client has tried to resume it in vain.
    """

    connection: str
    presented: Identity
    peer: Identity
    suite: IkeSuite
    expires: float
    gateway: IPAddress
    sk_d: bytes = field(repr=False)
    ticket: bytes = field(default=b"", repr=False)
    unanswered: int = 0


class Tickets:
    """The sessions of a gateway by their tickets, which refer to them by random numbers (RFC 5723 section 6.1)."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._sessions: dict[bytes, Session] = {}
        self._of: dict[tuple[str, Identity | None], bytes] = {}

    def issue(self, session: Session) -> bytes:
        """A ticket for a session; the peer's former one is good no more, and the oldest of too many."""
        self.forget(session.connection, session.peer)
        while len(self._sessions) >= MOST:
            oldest = next(iter(self._sessions.values()))
            self.forget(oldest.connection, oldest.peer)
        ticket = self._of[session.connection, session.peer] = self._random(SIZE)
        self._sessions[ticket] = replace(session, ticket=ticket)
        return ticket

    def session(self, ticket: bytes, now: float) -> Session | None:
        """What a ticket stands for, if it is good."""
        session = self._sessions.get(ticket)
        return session if session is not None and now < session.expires else None

    def redeem(self, session: Session) -> None:
        """Its ticket has done its work, which it does once (section 4.3.1); raises AuthenticationFailed if it had."""
        if self._sessions.get(session.ticket) is not session:
            raise AuthenticationFailed("its ticket was used before or has been withdrawn")
        self.forget(session.connection, session.peer)

    def bound(self, connection: str, peer: Identity) -> float:
        """When the ticket that a peer has expires, if it has one: others in its place do so then at the latest."""
        ticket = self._of.get((connection, peer))
        return float("inf") if ticket is None else self._sessions[ticket].expires

    def withdraw(self, connection: str) -> None:
        """A connection is another one or none from now on: none of its tickets is good any more."""
        for name, peer in [key for key in self._of if key[0] == connection]:
            self.forget(name, peer)

    def forget(self, connection: str, peer: Identity | None) -> None:
        """A peer's IKE SA has ended for good or was rekeyed: its ticket is good no more (section 6.2)."""
        if (ticket := self._of.pop((connection, peer), None)) is not None:
            self._sessions.pop(ticket, None)


def give(sa: IkeSa, request: Message, bound: float, now: float) -> tuple[Notify, ...]:
    """The ticket that a peer wants, if the connection has them; good as long as the IKE SA, or until `bound`."""
    tunnel, expires = sa.tunnel, sa.host.timers.when(sa, "expire")
    if not _wants(sa, request) or sa.identities is None or sa.presented is None or expires is None:
        return ()
    if sa.state is not State.ESTABLISHED:
        return ()
    session = Session(
        connection=name_of(tunnel),
        presented=sa.presented,
        peer=sa.identities[1],
        suite=sa.suite,
        expires=min(expires, bound),
        gateway=sa.path.local,
        sk_d=sa.keys.sk_d,
    )
    ticket = tunnel.endpoint.tickets.issue(session)
    left = max(0, int(session.expires - now))
    return (Notify(NotifyType.TICKET_LT_OPAQUE, left.to_bytes(LIFETIME_SIZE, "big") + ticket),)


def give_later(sa: IkeSa, request: Message) -> tuple[Notify, ...]:
    """The answer to who wants a ticket while the IKE SA is rekeyed: it may ask on the new one (section 4.1)."""
    return (Notify(NotifyType.TICKET_ACK),) if _wants(sa, request) else ()


def give_again(sa: IkeSa, request: Message, now: float) -> tuple[Notify, ...]:
    """The ticket that a peer wants of an IKE SA that is there."""
    if sa.identities is None or not _wants(sa, request):
        return ()
    sa.adopt(now)
    bound = sa.tunnel.endpoint.tickets.bound(name_of(sa.tunnel), sa.identities[1])
    return give(sa, request, bound, now) or (Notify(NotifyType.TICKET_NACK),)


def _wants(sa: IkeSa, request: Message) -> bool:
    return sa.tunnel.connection.resumption and request.notify(NotifyType.TICKET_REQUEST) is not None


def name_of(tunnel: Tunnel) -> str:
    """The connection whose sessions a tunnel resumes: those of an instance are its template's."""
    return tunnel.parts.configured.connection.name
