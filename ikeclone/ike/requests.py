"""The requests of an IKE SA: they wait for room in the peer's window, and are sent until they are answered."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ikeclone.connection import Timing
from ikeclone.ike.actions import Kind
from ikeclone.ike.channel import NARROW
from ikeclone.ike.exchange import Exchange, Payloads
from ikeclone.ike.window import Outstanding, RequestWindow
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Header, Message

if TYPE_CHECKING:
    from ikeclone.ike.sa import IkeSa

# The time of sending from which on fragments are small ones.
NARROW_FROM = 3


class Requests(RequestWindow[Exchange]):
    """The window, the `queue` of what waits for room in it, and retransmission (RFC 7296 sections 2.1 to 2.4)."""

    def __init__(self, sa: IkeSa, first: int) -> None:
        super().__init__(first)
        self.queue: deque[Exchange] = deque()
        self._sa, self._host = sa, sa.host

    def heed_window(self, message: Message) -> None:
        """Send as many requests at a time as the peer takes, though no more than is good for it and us."""
        announced = message.notify(NotifyType.SET_WINDOW_SIZE)
        if announced is not None and len(announced.data) == 4:
            self.size = max(1, min(int.from_bytes(announced.data, "big"), self._host.settings.window))

    def pump(self, now: float) -> None:
        """Send the requests that there is room for."""
        while self.queue and self._has_room_for(self.queue[0]):
            exchange = self.queue.popleft()
            payloads = exchange.request(now)
            if payloads is not None:
                self._request(exchange, payloads, now)

    def resend(self, now: float) -> None:
        """Send what awaits a response on the way that there is now, with new patience."""
        for request in self.outstanding.values():
            request.since, request.sent = now, 1
            self._transmit(request)
            self._arm(request, now)

    def renumber(self, next_id: int, now: float) -> None:
        """Go on with this message ID; what awaits a response is sent anew, with IDs from there on."""
        waiting = tuple(self.outstanding.values())
        for request in waiting:
            self.answered(request.message_id)
        self.next_id = next_id
        for request in waiting:
            self._request(request.exchange, request.payloads, now)

    def answered(self, message_id: int) -> None:
        """The response is there and good: the request is not sent again."""
        super().answered(message_id)
        self._host.timers.cancel(self._sa, _timer(message_id))

    def drop_waiting(self) -> None:
        """Forget what is not sent yet."""
        for exchange in self.queue:
            exchange.dropped()
        self.queue.clear()

    def drop(self) -> None:
        """Forget all."""
        self.drop_waiting()
        for request in self.outstanding.values():
            request.exchange.dropped()
        self.outstanding.clear()

    def hand_over(self, heir: IkeSa) -> None:
        """Let what is not sent yet be sent on another SA."""
        for exchange in self.queue:
            exchange.sa = heir
        heir.requests.queue.extend(self.queue)
        self.queue.clear()

    @property
    def creating_children(self) -> bool:
        """Whether a request that makes a Child SA awaits its response."""
        return any(e.changes_children and e.type is not ExchangeType.INFORMATIONAL for e in self._exchanges)

    @property
    def changing_children(self) -> bool:
        """Whether a request that makes or removes Child SAs awaits its response."""
        return any(exchange.changes_children for exchange in self._exchanges)

    @property
    def _exchanges(self) -> list[Exchange]:
        return [request.exchange for request in self.outstanding.values()]

    def _has_room_for(self, exchange: Exchange) -> bool:
        if self.outstanding and (exchange.alone or any(other.alone for other in self._exchanges)):
            return False
        return self.has_room

    def _request(self, exchange: Exchange, payloads: Payloads, now: float) -> None:
        sa = self._sa
        header = self._header(exchange, self.next_id)
        said = (*payloads, *sa.announcement(header))
        request = self.sent(exchange, said, sa.channel.seal(header, said), now)
        self._transmit(request)
        self._arm(request, now)

    def _header(self, exchange: Exchange, message_id: int) -> Header:
        sa = self._sa
        return Header(sa.spi_i, sa.spi_r, exchange.type, message_id, sa.initiator, False)

    def _transmit(self, request: Outstanding[Exchange]) -> None:
        mobike = self._sa.mobike
        for path in (self._sa.path,) if mobike is None else mobike.paths(request.sent):
            self._host.send(request.datagrams, path)

    def _arm(self, request: Outstanding[Exchange], now: float) -> None:
        due = self._timing.retransmit_at(request.since, now, request.sent)
        self._host.timers.set(self._sa, _timer(request.message_id), due, lambda at: self._retransmit(request, at))

    def _retransmit(self, request: Outstanding[Exchange], now: float) -> None:
        exchange, waited = request.exchange.type.name, now - request.since
        if now >= request.since + self._timing.retransmit_timeout:
            self._sa.lose(now, f"no response to {exchange} for {waited:.0f} seconds")
            return
        request.sent += 1
        text = f"retransmission {request.sent - 1} of {exchange}; no response for {waited:.1f} seconds"
        self._sa.tunnel.note(Kind.PROGRESS, text)
        if self._sa.mobike is not None:
            self._sa.mobike.unanswered(request.sent)
        if request.sent >= NARROW_FROM:
            self._narrow(request)
        self._transmit(request)
        self._arm(request, now)

    def _narrow(self, request: Outstanding[Exchange]) -> None:
        """Cut a large request into smaller fragments: the way may not take such as these (RFC 7383 section 2.5.2)."""
        channel = self._sa.channel
        if channel.limit is not None and max(map(len, request.datagrams)) > NARROW:
            channel.narrow(NARROW)
            request.datagrams = channel.seal_again(self._header(request.exchange, request.message_id), request.payloads)

    @property
    def _timing(self) -> Timing:
        timing = self._sa.tunnel.connection.timing
        return timing if self._sa.mobike is None else self._sa.mobike.timing(timing)


def _timer(message_id: int) -> str:
    return f"retransmit {message_id}"
