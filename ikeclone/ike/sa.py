"""An IKE SA: its keys, its message windows, its Child SAs, and which request is legal when."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.connection import Identity, Timing
from ikeclone.crypto.cipher import IntegrityError
from ikeclone.crypto.keys import IkeKeys
from ikeclone.crypto.suite import IkeSuite
from ikeclone.errors import AuthenticationFailed, InvalidSyntax, PeerError, TemporaryFailure
from ikeclone.ike.actions import IkeKeyed, Kind
from ikeclone.ike.child import Child
from ikeclone.ike.exchange import Exchange, Payloads, refusal
from ikeclone.ike.followup import FollowUps
from ikeclone.ike.fragments import Reassembly
from ikeclone.ike.host import Host
from ikeclone.ike.nat import Nat
from ikeclone.ike.protect import Protection
from ikeclone.ike.transcript import Transcript
from ikeclone.ike.window import Arrival, Outstanding, RequestWindow, ResponseWindow
from ikeclone.numbers import ExchangeType, NotifyType, PayloadType
from ikeclone.wire.message import Header, Message, build_payloads, parse_payloads
from ikeclone.wire.payloads import Encrypted, EncryptedFragment, Notify

if TYPE_CHECKING:
    from ikeclone.ike.mobike import Mobike
    from ikeclone.ike.rekey_ike import RekeyIke
    from ikeclone.ike.tunnel import Tunnel

Handler = Callable[[Message, float], Payloads]

LINGER = 30.0


class State(Enum):
    """AUTHENTICATING awaits the peer's IKE_AUTH response, HALF_OPEN its request; REKEYED has a successor."""

    AUTHENTICATING = "authenticating"
    HALF_OPEN = "half-open"
    ESTABLISHED = "established"
    REKEYED = "rekeyed"
    DELETING = "deleting"
    DEAD = "dead"


TRANSITIONS = {
    State.AUTHENTICATING: {State.ESTABLISHED, State.DELETING, State.DEAD},
    State.HALF_OPEN: {State.ESTABLISHED, State.DEAD},
    State.ESTABLISHED: {State.REKEYED, State.DELETING, State.DEAD},
    State.REKEYED: {State.DELETING, State.DEAD},
    State.DELETING: {State.DEAD},
    State.DEAD: set(),
}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What IKE_SA_INIT found out about the peer and the way to it."""

    fragmentation: bool
    nat: Nat


class IkeSa:
    """An IKE SA from the moment its keys are known. `handlers` are the requests it answers in its state."""

    def __init__(
        self,
        host: Host,
        tunnel: Tunnel,
        state: State,
        *,
        initiator: bool,
        spis: tuple[bytes, bytes],
        suite: IkeSuite,
        keys: IkeKeys,
        path: Path,
        abilities: Abilities,
        now: float,
    ) -> None:
        self.host, self.tunnel, self.state = host, tunnel, state
        self.spi_i, self.spi_r = spis
        self.initiator = initiator
        self.suite, self.keys, self.path, self.abilities = suite, keys, path, abilities
        self.created = self.heard = now
        self.established = -1.0
        # Ours and the peer's, once it has proved its own.
        self.identities: tuple[Identity, Identity] | None = None
        # Where Child SAs go, and where the last authentic message came from.
        self.esp_path = self.heard_on = self.init_path = path
        self.mobike: Mobike | None = None
        self.serial = host.serial()
        self.handlers: dict[ExchangeType, Handler] = {}
        self.children: dict[int, Child] = {}
        self.queue: deque[Exchange] = deque()
        self.rekey: RekeyIke | None = None
        # The SA whose place this one takes unless our own successor of it does.
        self.contested: IkeSa | None = None
        # SPIs that the peer deleted before we knew them: its request overtook the response that makes the SA.
        self.early_deletes: set[int] = set()
        self._finishing = False
        # IKE_SA_INIT was message 0 of the initiator; an IKE SA that was made by rekeying starts anew.
        first = 0 if state is State.ESTABLISHED else 1
        self.requests: RequestWindow[Exchange] = RequestWindow(first if initiator else 0)
        self.responses = ResponseWindow(0 if initiator else first)
        self._fragments: dict[int, Reassembly] = {}
        self._announced = False
        self.transcript = Transcript()
        self.followups = FollowUps(self)
        self._former: Protection | None = None
        self._next_keys: IkeKeys | None = None
        self._set_up_keys()

    def _set_up_keys(self) -> None:
        self._protection = Protection(self.suite, self.keys, self.initiator, self.host.random)
        if self.host.settings.key_log:
            self.host.emit(IkeKeyed(self.spi_i, self.spi_r, self.suite, self.keys))

    def change_keys(self, keys: IkeKeys) -> None:
        """Use other keys from now on; a request under the old ones may still be repeated."""
        self.keys, self._former, self._next_keys = keys, self._protection, None
        self._set_up_keys()

    def change_keys_after_answer(self, keys: IkeKeys) -> None:
        """Use other keys once the request that is being handled is answered."""
        self._next_keys = keys

    @property
    def local_spi(self) -> bytes:
        """The SPI that the peer addresses us by."""
        return self.spi_i if self.initiator else self.spi_r

    @property
    def _served(self) -> tuple[Tunnel, ...]:
        """Those whose Child SAs it has."""
        return tuple(dict.fromkeys(child.tunnel for child in self.children.values()))

    def enter(self, state: State, handlers: dict[ExchangeType, Handler] | None = None) -> None:
        """Change the state and the requests that are legal in it; a change that the table does not know is a bug."""
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"IKE SA #{self.serial}: {self.state.name} -> {state.name}")
        self.state = state
        self.handlers = handlers or {}

    # Receiving

    def receive(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        """Take a message whose header names this SA. What is forged or stray is counted and changes nothing."""
        if message.header.initiator == self.initiator:
            self.host.count("wrong initiator flag")
        elif self.state is State.AUTHENTICATING and not message.header.response:
            # A request can overtake the IKE_AUTH response; the peer repeats it (RFC 7296 section 2.21.2).
            self.host.count("request before authentication")
        elif message.header.response:
            self._receive_response(message, datagram, path, now)
        else:
            self._receive_request(message, datagram, path, now)

    def _receive_request(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        arrival = self.responses.arrival(message.header.message_id)
        if arrival is Arrival.OUTSIDE:
            self.host.count("request outside the window")
            return
        if arrival is Arrival.REPEATED:
            if self._is_repetition(message, datagram):
                self.host.send(self.responses.answer(message.header.message_id), path)
                if self.mobike is not None:
                    self.mobike.repeated(message.header.message_id, path)
                    self.pump(now)
                for tunnel in self._served:
                    tunnel.children.senders.doubted(self, now)
            return
        if (opened := self._open(message, datagram)) is None:
            return
        self.heard, self.heard_on = now, path
        self._follow(path)
        self.responses.received(message.header.message_id)
        for tunnel in self._served:
            tunnel.children.senders.proven(self, message.header.message_id)
        self._respond(message.header, *opened, now)

    def _respond(self, header: Header, first: PayloadType, plaintext: bytes, now: float) -> None:
        fatal: PeerError | None = None
        self._transcribe(header, first, plaintext)
        try:
            inner = Message(header, parse_payloads(first, plaintext))
            self._heed_window(inner)
            payloads = self._handle(inner, now)
        except PeerError as error:
            self.tunnel.note(Kind.PROGRESS, f"answering {header.exchange.name} with {error.notify.name}: {error}")
            payloads = (refusal(error),)
            fatal = error if isinstance(error, InvalidSyntax | AuthenticationFailed) else None
        self._answer(header, payloads)
        if fatal is not None and self.state is not State.DEAD:
            self.close(now, str(fatal), linger=True)
        self.pump(now)

    def _handle(self, inner: Message, now: float) -> Payloads:
        handler = self.handlers.get(inner.header.exchange)
        if handler is not None:
            return handler(inner, now)
        if inner.header.exchange is ExchangeType.CREATE_CHILD_SA and self.state in (
            State.REKEYED,
            State.DELETING,
        ):
            raise TemporaryFailure("this IKE SA is on its way out")
        raise InvalidSyntax(f"{inner.header.exchange.name} while {self.state.value}")

    def _answer(self, request: Header, payloads: Payloads) -> None:
        header = Header(self.spi_i, self.spi_r, request.exchange, request.message_id, self.initiator, True)
        datagrams = self._seal(header, (*payloads, *self._announcement(header)))
        self.responses.answered(request.message_id, datagrams)
        # To where the request came from, which need not be where ours go (RFC 7296 section 2.11).
        self.host.send(datagrams, self.heard_on)
        if self._next_keys is not None:
            self.change_keys(self._next_keys)

    def _receive_response(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        header = message.header
        request = self.requests.outstanding.get(header.message_id)
        if request is None or request.exchange.type is not header.exchange:
            self.host.count("response without a request")
            return
        if (opened := self._open(message, datagram)) is None:
            return
        self.heard, self.heard_on = now, path
        self.requests.answered(header.message_id)
        self.host.timers.cancel(self, f"retransmit {header.message_id}")
        self._transcribe(header, *opened)
        try:
            inner = Message(header, parse_payloads(*opened))
            self._heed_window(inner)
            request.exchange.response(inner, now)
            if self.mobike is not None:
                self.mobike.answered(path)
        except PeerError as error:
            request.exchange.failed(error, now)
        self._delete_early(now)
        self.pump(now)

    def _delete_early(self, now: float) -> None:
        """Now that the response is there, do the deletes that overtook it."""
        for child in [c for c in self.children.values() if c.outbound_spi in self.early_deletes]:
            child.tunnel.children.remove(self, child, now, by_peer=True)
        if not self.changing_children:
            self.early_deletes.clear()

    def _open(self, message: Message, datagram: bytes) -> tuple[PayloadType, bytes] | None:
        """The first payload type and the plaintext, None while fragments are missing or when it is not authentic."""
        payload = message.payloads[-1] if message.payloads else None
        try:
            if isinstance(payload, Encrypted):
                return payload.first, self._protection.open(payload, datagram)
            if isinstance(payload, EncryptedFragment):
                part = self._protection.open(payload, datagram)
                return self._reassemble(message.header, payload, part)
        except IntegrityError:
            self.host.count("integrity check failed")
        except InvalidSyntax:
            self.host.count("bad fragment")
        else:
            self.host.count("unprotected message")
        return None

    def _reassemble(self, header: Header, payload: EncryptedFragment, part: bytes) -> tuple[PayloadType, bytes] | None:
        # Requests and responses have message IDs of their own: keep them apart by the sign.
        key = ~header.message_id if header.response else header.message_id
        if key not in self._fragments and len(self._fragments) > self.responses.size:
            del self._fragments[next(iter(self._fragments))]
        parts = self._fragments.setdefault(key, Reassembly())
        whole = parts.add(key, payload.number, payload.total, payload.first, part)
        if whole is None:
            return None
        del self._fragments[key]
        return parts.first, whole

    def _is_repetition(self, message: Message, datagram: bytes) -> bool:
        """Whether it is the same request; it may be the one whose answer changed the keys."""
        payload = message.payloads[-1] if message.payloads else None
        if not isinstance(payload, Encrypted | EncryptedFragment):
            return False
        protections = (self._protection,) if self._former is None else (self._protection, self._former)
        if any(protection.opens(payload, datagram) for protection in protections):
            return isinstance(payload, Encrypted) or payload.number == 1
        self.host.count("integrity check failed")
        return False

    def _follow(self, path: Path) -> None:
        """A peer behind a NAT may get a new address or port; an authentic new request proves it (section 2.23).

        With MOBIKE the peer says so instead (RFC 4555 section 3.8).
        """
        if self.state is State.HALF_OPEN:
            self.path = self.esp_path = path
        elif path != self.path and self.abilities.nat.remote and path.local == self.path.local and not self.mobike:
            self.path = path
            self.move_children()

    def move_children(self) -> None:
        """Have the Child SAs take the way that IKE takes."""
        self.esp_path = self.path
        for child in self.children.values():
            child.tunnel.children.move(self, child, self.path)

    # Sending

    def enqueue(self, exchange: Exchange, now: float) -> None:
        """Start an exchange as soon as the peer's window allows, unless this SA is on its way out."""
        if self._finishing or self.state is State.DEAD:
            exchange.dropped()
            return
        self.queue.append(exchange)
        self.pump(now)

    def continue_with(self, exchange: Exchange, now: float) -> None:
        """Let this exchange follow the one that has just been answered, before any other."""
        self.queue.appendleft(exchange)
        self.pump(now)

    def pump(self, now: float) -> None:
        """Send the requests that there is room for."""
        while self.queue and self._has_room_for(self.queue[0]):
            exchange = self.queue.popleft()
            payloads = exchange.request(now)
            if payloads is not None:
                self._request(exchange, payloads, now)

    def _has_room_for(self, exchange: Exchange) -> bool:
        outstanding = [request.exchange for request in self.requests.outstanding.values()]
        if outstanding and (exchange.alone or any(other.alone for other in outstanding)):
            return False
        return self.requests.has_room

    def _announcement(self, header: Header) -> Payloads:
        """How many requests at a time we take, said once, in our first message (RFC 7296 section 2.3)."""
        early = self.state not in (State.AUTHENTICATING, State.ESTABLISHED)
        if self._announced or early or header.exchange is ExchangeType.IKE_INTERMEDIATE:
            return ()
        self._announced = True
        self.responses.size = self.host.settings.window
        return (Notify(NotifyType.SET_WINDOW_SIZE, self.responses.size.to_bytes(4, "big")),)

    def _heed_window(self, message: Message) -> None:
        """Send as many requests at a time as the peer takes, though no more than is good for it and us."""
        announced = message.notify(NotifyType.SET_WINDOW_SIZE)
        if announced is not None and len(announced.data) == 4:
            self.requests.size = max(1, min(int.from_bytes(announced.data, "big"), self.host.settings.window))

    def _request(self, exchange: Exchange, payloads: Payloads, now: float) -> None:
        header = Header(self.spi_i, self.spi_r, exchange.type, self.requests.next_id, self.initiator, False)
        datagrams = self._seal(header, (*payloads, *self._announcement(header)))
        request = self.requests.sent(exchange, datagrams, now)
        self._transmit(request)
        self._arm(request, now)

    def _transmit(self, request: Outstanding[Exchange]) -> None:
        for path in (self.path,) if self.mobike is None else self.mobike.paths(request.sent):
            self.host.send(request.datagrams, path)

    def resend(self, now: float) -> None:
        """Send what awaits a response on the way that there is now, with new patience."""
        for request in self.requests.outstanding.values():
            request.since, request.sent = now, 1
            self._transmit(request)
            self._arm(request, now)

    def _arm(self, request: Outstanding[Exchange], now: float) -> None:
        due = self._timing.retransmit_at(request.since, now, request.sent)
        name = f"retransmit {request.message_id}"
        self.host.timers.set(self, name, due, lambda at: self._retransmit(request, at))

    def _retransmit(self, request: Outstanding[Exchange], now: float) -> None:
        waited = now - request.since
        if now >= request.since + self._timing.retransmit_timeout:
            self.lose(now, f"no response to {request.exchange.type.name} for {waited:.0f} seconds")
            return
        request.sent += 1
        text = (
            f"retransmission {request.sent - 1} of {request.exchange.type.name}; no response for {waited:.1f} seconds"
        )
        self.tunnel.note(Kind.PROGRESS, text)
        if self.mobike is not None:
            self.mobike.unanswered(request.sent)
        self._transmit(request)
        self._arm(request, now)

    @property
    def _timing(self) -> Timing:
        timing = self.tunnel.connection.timing
        return timing if self.mobike is None else self.mobike.timing(timing)

    def _seal(self, header: Header, payloads: Payloads) -> tuple[bytes, ...]:
        limit = self.host.settings.fragment_size if self.abilities.fragmentation else None
        self._transcribe(header, *build_payloads(payloads))
        return self._protection.seal(header, payloads, limit)

    def _transcribe(self, header: Header, first: PayloadType, plaintext: bytes) -> None:
        if header.exchange is ExchangeType.IKE_INTERMEDIATE:
            self.transcript.add(self.suite.prf, self.keys, header, first, plaintext)

    @property
    def creating_children(self) -> bool:
        """Whether a request of ours that makes a Child SA awaits its response."""
        outstanding = (request.exchange for request in self.requests.outstanding.values())
        return any(e.changes_children and e.type is not ExchangeType.INFORMATIONAL for e in outstanding)

    @property
    def changing_children(self) -> bool:
        """Whether a request of ours that makes or removes Child SAs awaits its response."""
        return any(request.exchange.changes_children for request in self.requests.outstanding.values())

    # Ending

    @property
    def _linger(self) -> float:
        """Seconds for which the peer may repeat its last request: a response that was lost is asked for again."""
        return max(LINGER, self.tunnel.connection.timing.retransmit_timeout)

    def retire(self, now: float) -> None:
        """Await the deletion of this SA, by the peer or by us; should that fail, it does not stay."""
        self.enter(State.REKEYED, {ExchangeType.INFORMATIONAL: self.handlers[ExchangeType.INFORMATIONAL]})
        for name in ("rekey", "expire", "liveness", "keepalive"):
            self.host.timers.cancel(self, name)
        self.host.timers.set(self, "expire", now + self._linger, lambda at: self.close(at, "rekeyed"))

    def supersede(self, new: IkeSa, now: float) -> None:
        """Hand every Child SA and every waiting exchange over to the IKE SA that takes this one's place."""
        self.retire(now)
        new.path, new.esp_path, new.abilities, new.mobike = self.path, self.esp_path, self.abilities, self.mobike
        if new.mobike is not None:
            new.mobike.sa = new
        new.children.update(self.children)
        self.children.clear()
        for exchange in self.queue:
            exchange.sa = new
        new.queue.extend(self.queue)
        self.queue.clear()
        new._finishing, self._finishing = self._finishing, False
        self.tunnel.superseded(self, new)
        new.pump(now)

    def adopt(self, now: float) -> None:
        """The peer works with this one of two SAs that may take the same place: then it has settled for it."""
        old, self.contested = self.contested, None
        if old is not None and old.state is State.ESTABLISHED and self.state is State.ESTABLISHED:
            old.supersede(self, now)

    def finish(self, exchange: Exchange, now: float) -> None:
        """Send the last request of this SA: nothing else is sent after it, not even another last one."""
        if self._finishing:
            return
        for waiting in self.queue:
            waiting.dropped()
        self.queue.clear()
        self.enqueue(exchange, now)
        self._finishing = True

    def lose(self, now: float, reason: str) -> None:
        """The peer is gone: end without a word to it."""
        self.close(now, reason, peer_dead=True)

    def close(self, now: float, reason: str, *, linger: bool = False, peer_dead: bool = False) -> None:
        """End this SA with all its Child SAs. With `linger` the last response can still be repeated for a while.

        When the peer has rekeyed this SA while we were at it too, the Child SAs live on in its new one.
        """
        if self.rekey is not None and (heir := self.rekey.heir) is not None:
            self.supersede(heir, now)
        self.enter(State.DEAD)
        self.followups.clear()
        self.host.timers.cancel(self)
        for exchange in (*self.queue, *(request.exchange for request in self.requests.outstanding.values())):
            exchange.dropped()
        self.queue.clear()
        self.requests.outstanding.clear()
        for child in tuple(self.children.values()):
            child.tunnel.children.remove(self, child, now)
        if linger:
            self.host.timers.set(self, "forget", now + self._linger, lambda _: self.tunnel.forget(self))
        else:
            self.tunnel.forget(self)
        self.tunnel.closed(self, now, reason, peer_dead=peer_dead)
