"""What is kept of an IKE SA for its resumption, and the tickets that a gateway gives for it (RFC 5723)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ikeclone.connection import Identity
from ikeclone.crypto.suite import IkeSuite
from ikeclone.selectors import IPAddress

SIZE = 32
MOST = 4096


@dataclass(frozen=True, slots=True)
class Session:
    """An IKE SA of a connection as either end remembers it.

    `presented` is the identity that the peer's ID payload had, `peer` the one that it proved, which after EAP is
    another. `gateway` is where the ticket is good, `sk_d` the key that the keys of its successors are made of.
    """

    connection: str
    presented: Identity
    peer: Identity
    suite: IkeSuite
    expires: float
    gateway: IPAddress
    sk_d: bytes = field(repr=False)
    ticket: bytes = field(default=b"", repr=False)


class Tickets:
    """The sessions of a gateway by their tickets, which are random numbers (RFC 5723 section 6.2)."""

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
        self._sessions[ticket] = session
        return ticket

    def session(self, ticket: bytes, now: float) -> Session | None:
        """What a ticket stands for, if it is good."""
        session = self._sessions.get(ticket)
        return session if session is not None and now < session.expires else None

    def forget(self, connection: str, peer: Identity | None) -> None:
        """A peer's IKE SA has ended for good: it is not resumed."""
        if (ticket := self._of.pop((connection, peer), None)) is not None:
            self._sessions.pop(ticket, None)
