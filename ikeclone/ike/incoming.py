"""What comes in on an IKE SA: which messages are taken, and how requests are answered (RFC 7296 section 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.crypto.keys import IkeKeys
from ikeclone.errors import AuthenticationFailed, InvalidSyntax, PeerError, TemporaryFailure
from ikeclone.ike.actions import Kind
from ikeclone.ike.exchange import Exchange, Payloads, refusal
from ikeclone.ike.state import State
from ikeclone.ike.window import Arrival
from ikeclone.numbers import ExchangeType, PayloadType
from ikeclone.pki.standing import Unsettled
from ikeclone.wire.message import Header, Message, parse_payloads

if TYPE_CHECKING:
    from ikeclone.ike.sa import IkeSa

_Opened = tuple[PayloadType, bytes]


class Incoming:
    """The messages of an IKE SA's peer. What is forged or stray is counted and changes nothing."""

    def __init__(self, sa: IkeSa) -> None:
        self._sa, self._host = sa, sa.host
        self._next_keys: IkeKeys | None = None

    def change_keys_after_answer(self, keys: IkeKeys) -> None:
        """Use other keys once the request that is being handled is answered."""
        self._next_keys = keys

    def receive(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        """Take a message whose header names the SA."""
        if message.header.initiator == self._sa.initiator:
            self._host.count("wrong initiator flag")
        elif message.header.response:
            self._receive_response(message, datagram, path, now)
        elif self._sa.state is State.AUTHENTICATING:
            # A request can overtake the IKE_AUTH response; the peer repeats it (RFC 7296 section 2.21.2).
            self._host.count("request before authentication")
        else:
            self._receive_request(message, datagram, path, now)

    # Requests

    def _receive_request(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        sa, message_id = self._sa, message.header.message_id
        if sa.ids.takes(message, datagram, path, now):
            return
        arrival = sa.responses.arrival(message_id)
        if arrival is Arrival.OUTSIDE:
            self._host.count("request outside the window")
        elif arrival is Arrival.REPEATED:
            if sa.channel.repeats(message, datagram):
                self._answer_again(message_id, path, now)
        elif (opened := sa.channel.receive(message, datagram, sa.responses.size)) is not None:
            sa.heard, sa.heard_on = now, path
            self._follow(path)
            sa.responses.received(message_id)
            for tunnel in sa.served:
                tunnel.children.senders.proven(sa, message_id)
            self._respond(message.header, opened, now)

    def _answer_again(self, message_id: int, path: Path, now: float) -> None:
        sa = self._sa
        self._host.send(sa.responses.answer(message_id), path)
        if sa.mobike is not None:
            sa.mobike.repeated(message_id, path)
            sa.pump(now)
        for tunnel in sa.served:
            tunnel.children.senders.doubted(sa, now)

    def _follow(self, path: Path) -> None:
        """A peer behind a NAT may get a new address or port; an authentic new request proves it (section 2.23).

        With MOBIKE the peer says so instead (RFC 4555 section 3.8).
        """
        sa = self._sa
        if sa.state is State.HALF_OPEN:
            sa.path = sa.esp_path = path
        elif path != sa.path and sa.abilities.nat.remote and path.local == sa.path.local and not sa.mobike:
            sa.path = path
            sa.move_children()

    def _respond(self, header: Header, opened: _Opened, now: float) -> None:
        sa = self._sa
        fatal: PeerError | None = None
        try:
            inner = self._parse(header, opened)
            payloads = self._handle(inner, now)
        except Unsettled as unsettled:
            self._await(unsettled, lambda at: self._respond(header, opened, at), now)
            return
        except PeerError as error:
            sa.tunnel.note(Kind.PROGRESS, f"answering {header.exchange.name} with {error.notify.name}: {error}")
            payloads = (refusal(error),)
            fatal = error if isinstance(error, InvalidSyntax | AuthenticationFailed) else None
        self._answer(header, payloads)
        if fatal is not None and sa.state is not State.DEAD:
            sa.close(now, str(fatal), linger=True)
        sa.pump(now)

    def _handle(self, inner: Message, now: float) -> Payloads:
        exchange, state = inner.header.exchange, self._sa.state
        handler = self._sa.handlers.get(exchange)
        if handler is not None:
            return handler(inner, now)
        creates = exchange in (ExchangeType.CREATE_CHILD_SA, ExchangeType.IKE_FOLLOWUP_KE)
        if creates and state in (State.REKEYED, State.DELETING):
            raise TemporaryFailure("this IKE SA is on its way out")
        raise InvalidSyntax(f"{exchange.name} while {state.value}")

    def _answer(self, request: Header, payloads: Payloads) -> None:
        sa = self._sa
        header = Header(sa.spi_i, sa.spi_r, request.exchange, request.message_id, sa.initiator, True)
        datagrams = sa.seal(header, payloads)
        sa.responses.answered(request.message_id, datagrams)
        # To where the request came from, which need not be where ours go (RFC 7296 section 2.11).
        self._host.send(datagrams, sa.heard_on)
        if self._next_keys is not None:
            sa.change_keys(self._next_keys)
            self._next_keys = None

    # Responses

    def _receive_response(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        sa, header = self._sa, message.header
        request = sa.requests.outstanding.get(header.message_id)
        if request is None or request.exchange.type is not header.exchange:
            self._host.count("response without a request")
        elif (opened := sa.channel.receive(message, datagram, sa.responses.size)) is not None:
            sa.heard, sa.heard_on = now, path
            sa.requests.answered(header.message_id)
            self._take_response(request.exchange, header, opened, now)

    def _take_response(self, exchange: Exchange, header: Header, opened: _Opened, now: float) -> None:
        sa = self._sa
        try:
            exchange.response(self._parse(header, opened), now)
            if sa.mobike is not None:
                sa.mobike.answered(sa.heard_on)
        except Unsettled as unsettled:
            self._await(unsettled, lambda at: self._take_response(exchange, header, opened, at), now)
        except PeerError as error:
            exchange.failed(error, now)
        self._delete_early(now)
        sa.pump(now)

    def _delete_early(self, now: float) -> None:
        """Now that the response is there, do the deletes that overtook it."""
        sa = self._sa
        for child in [c for c in sa.children.values() if c.outbound_spi in sa.early_deletes]:
            child.tunnel.children.remove(sa, child, now, by_peer=True)
        if not sa.requests.changing_children:
            sa.early_deletes.clear()

    # Both

    def _parse(self, header: Header, opened: _Opened) -> Message:
        message = Message(header, parse_payloads(*opened))
        self._sa.requests.heed_window(message)
        return message

    def _await(self, unsettled: Unsettled, resume: Callable[[float], None], now: float) -> None:
        """Judge a message later, when what its sender's certificate depends on is known."""
        self._sa.tunnel.endpoint.inquiries.await_settled(self._sa, unsettled, resume, now)
