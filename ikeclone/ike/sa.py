"""An IKE SA: its keys, its message windows, its Child SAs, and which request is legal when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.connection import Identity
from ikeclone.crypto.keys import IkeKeys
from ikeclone.crypto.suite import IkeSuite
from ikeclone.ike.channel import Channel
from ikeclone.ike.child import Child
from ikeclone.ike.exchange import Exchange, Payloads
from ikeclone.ike.followup_responder import FollowUps
from ikeclone.ike.host import Host
from ikeclone.ike.incoming import Incoming
from ikeclone.ike.message_ids import IdSync
from ikeclone.ike.nat import Nat
from ikeclone.ike.requests import Requests
from ikeclone.ike.state import TRANSITIONS, State
from ikeclone.ike.window import ResponseWindow
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Header, Message
from ikeclone.wire.payloads import Notify

if TYPE_CHECKING:
    from ikeclone.ike.mobike import Mobike
    from ikeclone.ike.rekey_ike import RekeyIke
    from ikeclone.ike.tunnel import Tunnel

Handler = Callable[[Message, float], Payloads]

LINGER = 30.0


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
        # The number of the newest SA when it was established.
        self._newest = -1
        # Ours and the peer's, once it has proved its own.
        self.identities: tuple[Identity, Identity] | None = None
        # What the initiator's ID payload said; after EAP it has proved another.
        self.presented: Identity | None = None
        # Where Child SAs go, and where the last authentic message came from.
        self.esp_path = self.heard_on = self.init_path = path
        self.mobike: Mobike | None = None
        # Whether the peer goes where it is sent (RFC 5685).
        self.redirectable = False
        self.serial = host.serial()
        self.handlers: dict[ExchangeType, Handler] = {}
        self.children: dict[int, Child] = {}
        self.rekey: RekeyIke | None = None
        # What it was rekeyed to.
        self.successor: IkeSa | None = None
        # The SA whose place this one takes unless our own successor of it does.
        self.contested: IkeSa | None = None
        # SPIs that the peer deleted before we knew them: its request overtook the response that makes the SA.
        self.early_deletes: set[int] = set()
        self._finishing = False
        # IKE_SA_INIT was message 0 of the initiator; an IKE SA that was made by rekeying starts anew.
        first = 0 if state is State.ESTABLISHED else 1
        self.requests = Requests(self, first if initiator else 0)
        self.responses = ResponseWindow(0 if initiator else first)
        self.ids = IdSync(self)
        self._announced = False
        self.followups = FollowUps(self)
        self.incoming = Incoming(self)
        self.channel = Channel(host, spis, suite, keys, initiator=initiator, fragmentation=abilities.fragmentation)

    def change_keys(self, keys: IkeKeys) -> None:
        """Use other keys from now on; a request under the old ones may still be repeated."""
        self.keys = keys
        self.channel.change_keys(keys)

    def pass_to(self, tunnel: Tunnel) -> None:
        """Belong to another connection from now on."""
        self.tunnel.own.pop(self, None)
        self.tunnel = tunnel
        tunnel.own[self] = None

    def authenticated(self, now: float, like: IkeSa | None = None) -> None:
        """The peer has proved who it is, now or on the SA that this one takes the place of."""
        self.established, self._newest = (now, self.host.newest) if like is None else (like.established, like._newest)

    def precedes(self, new: IkeSa) -> bool:
        """Whether it was established before another one was begun. Two of which neither does so cross."""
        return self is not new and 0 <= self._newest < new.serial

    @property
    def local_spi(self) -> bytes:
        """The SPI that the peer addresses us by."""
        return self.spi_i if self.initiator else self.spi_r

    @property
    def served(self) -> tuple[Tunnel, ...]:
        """Those whose Child SAs it has."""
        return tuple(dict.fromkeys(child.tunnel for child in self.children.values()))

    def enter(self, state: State, handlers: dict[ExchangeType, Handler] | None = None) -> None:
        """Change the state and the requests that are legal in it; a change that the table does not know is a bug."""
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"IKE SA #{self.serial}: {self.state.name} -> {state.name}")
        self.state = state
        self.handlers = handlers or {}

    def receive(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        """Take a message whose header names this SA."""
        self.incoming.receive(message, datagram, path, now)

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
        self.requests.queue.append(exchange)
        self.pump(now)

    def continue_with(self, exchange: Exchange, now: float) -> None:
        """Let this exchange follow the one that has just been answered, before any other."""
        self.requests.queue.appendleft(exchange)
        self.pump(now)

    def pump(self, now: float) -> None:
        """Send the requests that there is room for."""
        self.requests.pump(now)

    def seal(self, header: Header, payloads: Payloads) -> tuple[bytes, ...]:
        """The datagrams of a message of ours."""
        return self.channel.seal(header, (*payloads, *self.announcement(header)))

    def announcement(self, header: Header) -> Payloads:
        """How many requests at a time we take, said once, in our first message (RFC 7296 section 2.3)."""
        early = self.state not in (State.AUTHENTICATING, State.ESTABLISHED)
        if self._announced or early or header.exchange is ExchangeType.IKE_INTERMEDIATE:
            return ()
        self._announced = True
        self.responses.size = self.host.settings.window
        return (Notify(NotifyType.SET_WINDOW_SIZE, self.responses.size.to_bytes(4, "big")),)

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
        self.successor = new
        new.ids.inherit(self.ids)
        new.redirectable = self.redirectable
        new.path, new.esp_path, new.abilities, new.mobike = self.path, self.esp_path, self.abilities, self.mobike
        if new.mobike is not None:
            new.mobike.sa = new
        new.children.update(self.children)
        self.children.clear()
        self.requests.hand_over(new)
        new._finishing, self._finishing = self._finishing, False
        self.tunnel.succession.superseded(self, new, now)
        new.pump(now)

    def adopt(self, now: float) -> None:
        """The peer works with this one of two SAs that may take the same place: then it has settled for it."""
        old = self.contested
        if old is None or self.state is not State.ESTABLISHED:
            return
        if old.state is State.ESTABLISHED:
            self.contested = None
            old.supersede(self, now)
        elif old.state is State.REKEYED:
            self.tunnel.reauth.bequeath(old, now)

    def finish(self, exchange: Exchange, now: float) -> None:
        """Send the last request of this SA: nothing else is sent after it, not even another last one."""
        if self._finishing:
            return
        self.requests.drop_waiting()
        self.enqueue(exchange, now)
        self._finishing = True

    def lose(self, now: float, reason: str) -> None:
        """The peer is gone: end without a word to it."""
        self.close(now, reason, peer_dead=True)

    def discard(self) -> None:
        """End an SA that nobody counts on yet."""
        self.enter(State.DEAD)
        self.host.timers.cancel(self)
        self.requests.drop()
        self.tunnel.forget(self)

    def close(self, now: float, reason: str, *, linger: bool = False, peer_dead: bool = False) -> None:
        """End this SA with all its Child SAs. With `linger` the last response can still be repeated for a while.

        When the peer has rekeyed this SA while we were at it too, the Child SAs live on in its new one.
        """
        if self.rekey is not None and (heir := self.rekey.heir) is not None:
            self.supersede(heir, now)
        self.tunnel.reauth.bequeath(self, now)
        self.enter(State.DEAD)
        self.followups.clear()
        self.host.timers.cancel(self)
        self.requests.drop()
        for child in tuple(self.children.values()):
            child.tunnel.children.remove(self, child, now)
        if linger:
            self.host.timers.set(self, "forget", now + self._linger, lambda _: self.tunnel.forget(self))
        else:
            self.tunnel.forget(self)
        self.tunnel.succession.closed(self, now, reason, peer_dead=peer_dead)
