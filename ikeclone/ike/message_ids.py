"""Message IDs after a peer that is a cluster of gateways has failed over to another of them (RFC 6311).

The new one may have missed the last exchanges. It says where both sides' message IDs go on, in an INFORMATIONAL
exchange whose own message ID is 0, whatever the windows say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.errors import PeerError
from ikeclone.ike.actions import Kind
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.replay_counters import synchronise
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Header, Message, parse_payloads
from ikeclone.wire.payloads import Encrypted, Notify

if TYPE_CHECKING:
    from ikeclone.ike.sa import IkeSa

# Nonce, next message ID of the sender's requests, and the one of the receiver's that it expects (RFC 6311 section 6.3).
_SYNC = struct.Struct(">4sII")
# Beyond it there would be too few message IDs left for this IKE SA to go on with.
_HIGHEST = 2**32 - 2**16


@dataclass(frozen=True, slots=True)
class _Answered:
    """A request to synchronise and its response, which are good until the peer goes on at `start`."""

    request: bytes
    response: tuple[bytes, ...]
    start: int


class IdSync:
    """The peer's side of it. `agreed`: both ends have said in IKE_AUTH that they know of it.

    `counters_agreed`: that they know how to synchronise sequence numbers of ESP (see `replay_counters`).
    """

    def __init__(self, sa: IkeSa) -> None:
        self.agreed = self.counters_agreed = False
        self._sa = sa
        self._last: _Answered | None = None

    def takes(self, message: Message, datagram: bytes, path: Path, now: float) -> bool:
        """Whether a request is one to synchronise message IDs; it is answered unless it is old or unexpected."""
        if (last := self._last) is not None and last.request == datagram and self._sa.responses.newest < last.start:
            self._sa.host.send(last.response, path)
            return True
        if (request := self._opened(message, datagram)) is None:
            return False
        if (notify := request.notify(NotifyType.IKEV2_MESSAGE_ID_SYNC)) is None:
            return False
        if not self.agreed or len(notify.data) != _SYNC.size:
            self._sa.host.count("unexpected message id synchronisation")
            return True
        nonce, theirs, ours = _SYNC.unpack(notify.data)
        if theirs <= self._newest or max(theirs, ours) > _HIGHEST:
            # Somebody sends an old one again (RFC 6311 section 5.1).
            self._sa.host.count("stale message id synchronisation")
            return True
        ours = max(ours, self._sa.requests.next_id)
        response = self._answer(
            message.header, Notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, _SYNC.pack(nonce, ours, theirs))
        )
        self._last = _Answered(datagram, response, theirs)
        synchronise(self._sa, request, now)
        self._sa.host.send(response, path)
        self._go_on(ours, theirs, now)
        return True

    @property
    def _newest(self) -> int:
        """The highest message ID of a request that the peer has sent or announced."""
        return max(self._sa.responses.newest, -1 if self._last is None else self._last.start)

    def inherit(self, former: IdSync) -> None:
        """The IKE SA takes the place of another one, whose ends have agreed."""
        self.agreed, self.counters_agreed = former.agreed, former.counters_agreed

    def _opened(self, message: Message, datagram: bytes) -> Message | None:
        """What is in a request that may be one to synchronise, if it is authentic."""
        header, sealed = message.header, message.first(Encrypted)
        informational = header.exchange is ExchangeType.INFORMATIONAL and header.exchange in self._sa.handlers
        if not informational or header.message_id != 0 or sealed is None:
            return None
        if (opened := self._sa.channel.open(message, datagram)) is None:
            return None
        try:
            return Message(header, parse_payloads(*opened))
        except PeerError:
            return None

    def _answer(self, request: Header, notify: Notify) -> tuple[bytes, ...]:
        sa = self._sa
        return sa.seal(Header(sa.spi_i, sa.spi_r, request.exchange, 0, sa.initiator, True), (notify,))

    def _go_on(self, ours: int, theirs: int, now: float) -> None:
        sa = self._sa
        text = f"#{sa.serial}: the peer has failed over, message IDs go on at {ours} (ours) and {theirs} (its own)"
        sa.tunnel.note(Kind.PROGRESS, text)
        sa.heard = now
        sa.responses.restart(theirs)
        sa.requests.renumber(ours, now)


def announce() -> tuple[Notify, ...]:
    """What IKE_AUTH says of it."""
    return Notify(NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED), Notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED)


def agree(sa: IkeSa, message: Message) -> Payloads:
    """Heed what the peer's IKE_AUTH says of it; what a responder then answers."""
    common = [notify for notify in announce() if message.notify(notify.type) is not None]
    types = {notify.type for notify in common}
    sa.ids.agreed = NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED in types
    sa.ids.counters_agreed = NotifyType.IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED in types
    return tuple(common)
