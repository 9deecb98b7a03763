"""IKE_FOLLOWUP_KE: the additional key exchanges of a CREATE_CHILD_SA of ours (RFC 9370 section 2.2.4)."""

from __future__ import annotations

from collections.abc import Callable

from ikeclone.crypto import kex
from ikeclone.errors import InvalidSyntax, PeerError, StateNotFound
from ikeclone.ike.exchange import Exchange, Payloads, public_value, raise_refusal
from ikeclone.ike.informational import take_down
from ikeclone.numbers import ExchangeType, KeMethod, NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import KeyExchange, Notify

MOST_TRIES = 3

Finish = Callable[[bytes, float], None]


class FollowUp(Exchange):
    """The initiator's next round; when `methods` are done `finish` gets their shared secrets, one after the other.

    Raises InvalidSyntax if the response before does not say what it belongs to.
    """

    type = ExchangeType.IKE_FOLLOWUP_KE

    def __init__(
        self, origin: Exchange, methods: tuple[KeMethod, ...], before: Message, finish: Finish, secrets: bytes = b""
    ) -> None:
        super().__init__(origin.sa)
        link = before.notify(NotifyType.ADDITIONAL_KEY_EXCHANGE)
        if link is None:
            raise InvalidSyntax("no ADDITIONAL_KEY_EXCHANGE where additional key exchanges are due")
        self.changes_children, self.alone = origin.changes_children, origin.alone
        self._origin, self._rest, self._finish, self._secrets = origin, methods[1:], finish, secrets
        self._link = Notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, link.data)
        self._pair = kex.generate(methods[0], self.sa.host.random)

    def request(self, now: float) -> Payloads:
        return (KeyExchange(self._pair.method, self._pair.public), self._link)

    def response(self, message: Message, now: float) -> None:
        raise_refusal(message)
        secrets = self._secrets + self._pair.shared(public_value(message, self._pair.method))
        if self._rest:
            self.sa.continue_with(FollowUp(self._origin, self._rest, message, self._finish, secrets), now)
        else:
            self.sa.followups.denied = 0
            self._finish(secrets, now)

    def failed(self, error: PeerError, now: float) -> None:
        """All of it failed; a peer that forgets it time and again is no peer to go on with."""
        self._origin.failed(error, now)
        followups = self.sa.followups
        followups.denied = followups.denied + 1 if isinstance(error, StateNotFound) else 0
        if followups.denied >= MOST_TRIES:
            take_down(self.sa, f"{error}, {MOST_TRIES} times in a row", now)

    def dropped(self) -> None:
        self._origin.dropped()
