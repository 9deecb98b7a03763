"""What opens an IKE SA, whether with IKE_SA_INIT or IKE_SESSION_RESUME: a first request, sent until it is answered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ikeclone.backend import Path
from ikeclone.crypto.keys import IkeKeys
from ikeclone.crypto.suite import IkeSuite
from ikeclone.errors import InvalidSyntax, PeerError
from ikeclone.ike import nat
from ikeclone.ike.actions import Kind
from ikeclone.ike.exchange import Payloads
from ikeclone.ike.negotiation import NONCE_SIZE
from ikeclone.ike.sa import Abilities, IkeSa
from ikeclone.ike.state import State
from ikeclone.ike.tickets import Session
from ikeclone.numbers import ExchangeType, HashAlgorithm, NotifyType
from ikeclone.wire.message import Header, Message, build_message
from ikeclone.wire.payloads import CertRequest, Notify

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel

NO_SPI = bytes(8)
MAX_RESTARTS = 8


@dataclass(frozen=True, slots=True)
class InitRecord:
    """The first two messages as they were on the wire and their nonces, which IKE_AUTH signs; and how to sign.

    `hashes` are those that the peer announced, None if it did not; `wanted` is whose certificates the responder wants;
    `ppk` whether both know of postquantum preshared keys (RFC 8784); `childless` whether IKE_AUTH asks for no Child SA;
    `session` is what is resumed, if that is so.
    """

    request: bytes
    response: bytes
    nonce_i: bytes
    nonce_r: bytes
    hashes: frozenset[HashAlgorithm] | None = None
    wanted: tuple[CertRequest, ...] = ()
    ppk: bool = False
    childless: bool = False
    session: Session | None = None


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """The responder's result: an IKE SA that awaits IKE_AUTH, and what was said until then."""

    sa: IkeSa
    record: InitRecord


class Opening(ABC):
    """An IKE SA that we ask for, until its keys are known."""

    type: ClassVar[ExchangeType]

    def __init__(self, tunnel: Tunnel, path: Path, now: float) -> None:
        self.tunnel, self.host, self.path = tunnel, tunnel.host, path
        self.local_spi = self.host.spi()
        self.nonce = self.host.random(NONCE_SIZE)
        self.request = b""
        self._cookie: tuple[Notify, ...] = ()
        self._restarts = 0
        self._since = now
        self._send(now)

    @abstractmethod
    def payloads(self) -> Payloads:
        """The request, less a cookie."""

    @abstractmethod
    def take(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        """Act on the response; raises PeerError if that leads nowhere."""

    def receive(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        """Take the response. Its notifies are not authenticated: what they ask for is done a few times."""
        header = message.header
        if (header.exchange, header.message_id, header.response) != (self.type, 0, True):
            self.host.count(f"unexpected message during {self.type.name}")
            return
        try:
            if (cookie := message.notify(NotifyType.COOKIE)) is not None:
                self._cookie = (Notify(NotifyType.COOKIE, cookie.data),)
                self.restart(now)
            else:
                self.take(message, datagram, path, now)
        except PeerError as error:
            self.fail(now, str(error))

    def fail(self, now: float, reason: str) -> None:
        """Give up."""
        self.host.timers.cancel(self)
        self.tunnel.approach.failed(self, now, reason)

    def restart(self, now: float) -> None:
        """Send another request; raises InvalidSyntax if the peer has too many wishes."""
        self._restarts += 1
        if self._restarts > MAX_RESTARTS:
            raise InvalidSyntax(f"the peer wants {self.type.name} repeated again and again")
        self._send(now)

    def _send(self, now: float) -> None:
        header = Header(self.local_spi, NO_SPI, self.type, 0, True, False)
        self.request = build_message(header, (*self._cookie, *self.payloads()))
        self._sent = 0
        self._transmit(now)

    def _transmit(self, now: float) -> None:
        timing = self.tunnel.connection.timing
        waited = now - self._since
        if now >= self._since + timing.retransmit_timeout:
            self.fail(now, f"no response from {self.path.remote} to {self.type.name} for {waited:.0f} seconds")
            return
        if self._sent:
            text = f"retransmission {self._sent} of {self.type.name}; no response for {waited:.1f} seconds"
            self.tunnel.note(Kind.PROGRESS, text)
        self.host.send((self.request,), self.path)
        self._sent += 1
        self.host.timers.set(self, "retransmit", timing.retransmit_at(self._since, now, self._sent), self._transmit)

    def keyed(
        self, suite: IkeSuite, keys: IkeKeys, record: InitRecord, message: Message, path: Path, now: float
    ) -> None:
        """Go on with IKE_AUTH on an IKE SA with these keys; `message` is the response that made them."""
        abilities = found(self.tunnel, message, path)
        if abilities.nat.encapsulate or (abilities.nat.supported and self.tunnel.connection.mobike):
            # With MOBIKE also where there is no NAT yet (RFC 4555 section 3.3).
            path = replace(path, local_port=nat.PORT, remote_port=nat.PORT)
        self.host.timers.cancel(self)
        sa = IkeSa(
            self.host,
            self.tunnel,
            State.AUTHENTICATING,
            initiator=True,
            spis=(self.local_spi, message.header.responder_spi),
            suite=suite,
            keys=keys,
            path=path,
            abilities=abilities,
            now=now,
        )
        self.tunnel.approach.keyed(self, sa, record, now)


def half_open(
    tunnel: Tunnel, message: Message, path: Path, spi_r: bytes, suite: IkeSuite, keys: IkeKeys, now: float
) -> IkeSa:
    """A responder's IKE SA that awaits IKE_AUTH; `message` is the request that its keys come from."""
    return IkeSa(
        tunnel.host,
        tunnel,
        State.HALF_OPEN,
        initiator=False,
        spis=(message.header.initiator_spi, spi_r),
        suite=suite,
        keys=keys,
        path=path,
        abilities=found(tunnel, message, path),
        now=now,
    )


def manners(tunnel: Tunnel, spi_i: bytes, spi_r: bytes, path: Path) -> tuple[Notify, ...]:
    """What lets the peer find NATs, and that we take fragments."""
    fragmentation = (Notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED),) if tunnel.connection.fragmentation else ()
    if not tunnel.detects_nat:
        return fragmentation
    detection = nat.notifies(spi_i, spi_r, path, tunnel.forces_encapsulation, tunnel.host.random)
    return (*detection, *fragmentation)


def found(tunnel: Tunnel, message: Message, path: Path) -> Abilities:
    """What the peer's `manners` show."""
    fragmentation = message.notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED) is not None
    between = nat.detect(message, path, tunnel.forces_encapsulation) if tunnel.detects_nat else nat.Nat()
    return Abilities(fragmentation and tunnel.connection.fragmentation, between)
