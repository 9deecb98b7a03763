"""IKE_FOLLOWUP_KE: the additional key exchanges of the peer's CREATE_CHILD_SAs (RFC 9370 section 2.2.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ikeclone.crypto import kex
from ikeclone.errors import PeerError, StateNotFound
from ikeclone.ike.exchange import Payloads, public_value
from ikeclone.numbers import KeMethod, NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import KeyExchange, Notify

if TYPE_CHECKING:
    from ikeclone.ike.sa import IkeSa

LINK_SIZE = 8
# It is said that 5 to 20 seconds are enough in most cases; a lost request has been sent again by then.
PATIENCE = 20.0
MOST = 32

Finish = Callable[[bytes, float], None]
Abandon = Callable[[], None]


@dataclass(slots=True)
class _Waiting:
    """A responder's exchange: the methods still to be done, the secrets so far, and how it ends."""

    methods: tuple[KeMethod, ...]
    finish: Finish
    abandon: Abandon
    secrets: bytes = b""


class FollowUps:
    """What an IKE SA owes its peer as a responder, by the link that names it; forgotten after a while."""

    def __init__(self, sa: IkeSa) -> None:
        self._sa = sa
        # How often in a row the peer did not know of ours.
        self.denied = 0
        self._waiting: dict[bytes, _Waiting] = {}

    def expect(
        self, methods: tuple[KeMethod, ...], finish: Finish, now: float, abandon: Abandon = lambda: None
    ) -> Payloads:
        """Let the peer go on with these methods, then `finish`; what goes into the answer to CREATE_CHILD_SA."""
        if len(self._waiting) >= MOST:
            self._drop(next(iter(self._waiting)))
        link = self._sa.host.random(LINK_SIZE)
        self._waiting[link] = _Waiting(methods, finish, abandon)
        self._set_timer(link, now)
        return (Notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, link),)

    def respond(self, message: Message, now: float) -> Payloads:
        """Answer the next round of one of them; raises StateNotFound if there is no such."""
        named = message.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
        waiting = self._waiting.get(named.data) if named is not None else None
        if named is None or waiting is None:
            raise StateNotFound("no exchange of this name is under way")
        try:
            return self._next(waiting, named, message, now)
        except PeerError:
            self._drop(named.data)
            raise

    def _next(self, waiting: _Waiting, named: Notify, message: Message, now: float) -> Payloads:
        method = waiting.methods[0]
        public, shared = kex.encapsulate(method, public_value(message, method), self._sa.host.random)
        waiting.methods, waiting.secrets = waiting.methods[1:], waiting.secrets + shared
        answer = KeyExchange(method, public)
        if waiting.methods:
            self._set_timer(named.data, now)
            return (answer, Notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, named.data))
        waiting.finish(waiting.secrets, now)
        self._forget(named.data)
        return (answer,)

    def clear(self) -> None:
        """Give all of them up."""
        for link in tuple(self._waiting):
            self._drop(link)

    def _set_timer(self, link: bytes, now: float) -> None:
        self._sa.host.timers.set(self._sa, f"follow-up {link.hex()}", now + PATIENCE, lambda _: self._drop(link))

    def _forget(self, link: bytes) -> _Waiting:
        self._sa.host.timers.cancel(self._sa, f"follow-up {link.hex()}")
        return self._waiting.pop(link)

    def _drop(self, link: bytes) -> None:
        self._forget(link).abandon()
