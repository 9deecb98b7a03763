"""Message IDs, the request window and retransmission (RFC 7296 sections 2.1 to 2.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from ikeclone.wire.payloads import Payload

E = TypeVar("E")


@dataclass(slots=True)
class Outstanding(Generic[E]):
    """A request that awaits its response: what it says, what to send again, and since when."""

    exchange: E
    payloads: tuple[Payload, ...]
    message_id: int
    datagrams: tuple[bytes, ...]
    since: float
    sent: int = 1


@dataclass(slots=True)
class RequestWindow(Generic[E]):
    """Our requests. `size` is how many the peer takes at a time (SET_WINDOW_SIZE, RFC 7296 section 2.3)."""

    next_id: int = 0
    size: int = 1
    outstanding: dict[int, Outstanding[E]] = field(default_factory=dict)

    @property
    def has_room(self) -> bool:
        """Whether another request may be sent. The window counts from the oldest one that is unanswered."""
        oldest = min(self.outstanding, default=self.next_id)
        return self.next_id < oldest + self.size

    def sent(
        self, exchange: E, payloads: tuple[Payload, ...], datagrams: tuple[bytes, ...], now: float
    ) -> Outstanding[E]:
        """Note a request that took the next message ID."""
        request = Outstanding(exchange, payloads, self.next_id, datagrams, now)
        self.outstanding[self.next_id] = request
        self.next_id += 1
        return request

    def answered(self, message_id: int) -> None:
        """The response is there and good: the request is not sent again."""
        del self.outstanding[message_id]


class Arrival(Enum):
    """How a request's message ID stands to the ones seen before."""

    NEW = auto()
    REPEATED = auto()
    OUTSIDE = auto()


@dataclass(slots=True)
class ResponseWindow:
    """The peer's requests, `size` at a time in any order, and our responses, kept to be sent again.

    `expected` is the oldest request that did not arrive, `newest` the last one that did.
    """

    expected: int = 0
    size: int = 1
    newest: int = -1
    _answers: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    _under_way: set[int] = field(default_factory=set)

    def arrival(self, message_id: int) -> Arrival:
        """Requests in the window are processed, once; one that was answered gets the same octets again."""
        if message_id in self._answers:
            return Arrival.REPEATED
        inside = self.expected <= message_id < self.expected + self.size and message_id not in self._under_way
        return Arrival.NEW if inside else Arrival.OUTSIDE

    def received(self, message_id: int) -> None:
        """Note an authentic request. Its own window shows which responses the peer has: they are forgotten."""
        self.newest = max(self.newest, message_id)
        self._under_way.add(message_id)
        for old in [i for i in self._answers if i <= self.newest - self.size]:
            del self._answers[old]

    def answered(self, message_id: int, datagrams: tuple[bytes, ...]) -> None:
        """Note the response to a request."""
        self._answers[message_id] = datagrams
        self._under_way.discard(message_id)
        while self.expected in self._answers:
            self.expected += 1

    def restart(self, expected: int) -> None:
        """The peer goes on with this message ID."""
        self.expected, self.newest = expected, expected - 1
        self._answers.clear()

    def answer(self, message_id: int) -> tuple[bytes, ...]:
        """The response that was given to a request."""
        return self._answers[message_id]
