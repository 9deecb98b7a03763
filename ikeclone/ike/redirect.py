"""Gateways that send their peers to another one, before, in or after IKE_AUTH, and peers that go there (RFC 5685)."""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from ikeclone.connection import Choice
from ikeclone.errors import InvalidSyntax, LocalError, PeerError
from ikeclone.ike.actions import Kind
from ikeclone.ike.exchange import Exchange, Payloads
from ikeclone.ike.informational import DeleteIke, respond_informational
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.selectors import IPAddress
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Nonce, Notify

if TYPE_CHECKING:
    from ikeclone.ike.host import Host
    from ikeclone.ike.tunnel import Tunnel

MAX_REDIRECTS = 5  # in REDIRECT_LOOP_DETECT_PERIOD seconds (RFC 5685 section 7)
REDIRECT_LOOP_DETECT_PERIOD = 300.0
PATIENCE = 60.0  # seconds that a peer has for leaving after we have sent it away

_SIZES = {1: 4, 2: 16}  # of the addresses by their GW Ident Type (section 9.2)
_NAME = 3


def gateway(address: IPAddress) -> bytes:
    """A gateway's identity as REDIRECT and REDIRECTED_FROM have it."""
    kind = 1 if address.version == 4 else 2
    return bytes([kind, _SIZES[kind]]) + address.packed


def parse_gateway(data: bytes) -> tuple[IPAddress, bytes]:
    """A gateway's address and the octets behind it; raises InvalidSyntax, also for a name, as none is looked up."""
    kind, size = data[:2] if len(data) >= 2 else (0, 0)
    if kind == _NAME:
        raise InvalidSyntax("the peer redirects to a name: names are not looked up")
    if _SIZES.get(kind) != size or len(data) < 2 + size:
        raise InvalidSyntax("a redirection to nowhere")
    octets = data[2 : 2 + size]
    return IPv4Address(octets) if kind == 1 else IPv6Address(octets), data[2 + size :]


class Redirects:
    """Where a connection's peer has sent us. `gateway` stands for the peer's own address until it is lost."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.gateway: IPAddress | None = None
        self._from: IPAddress | None = None
        self._times: deque[float] = deque(maxlen=MAX_REDIRECTS)

    def forget(self) -> None:
        """Go to the peer's own address again."""
        self.gateway = self._from = None

    def announce(self) -> Payloads:
        """What IKE_SA_INIT says: that we can be redirected, or that we were and by whom."""
        if not self._tunnel.connection.redirection.accept:
            return ()
        if self._from is not None:
            return (Notify(NotifyType.REDIRECTED_FROM, gateway(self._from)),)
        return (Notify(NotifyType.REDIRECT_SUPPORTED),)

    def before_auth(self, message: Message, nonce: bytes, source: IPAddress, now: float) -> bool:
        """Whether the response to IKE_SA_INIT is one that sends us elsewhere; raises PeerError if we do not go there.

        Only who has seen our nonce can say so; without it the response means nothing (RFC 5685 section 3).
        """
        notify = self._notify(message)
        if notify is None:
            return False
        target, returned = parse_gateway(notify.data)
        if returned == nonce:
            self._follow(target, source, now)
            self._tunnel.approach.anew(now)
        else:
            self._tunnel.host.count("redirect without our nonce")
        return True

    def in_auth(self, sa: IkeSa, message: Message, now: float) -> bool:
        """Whether IKE_AUTH sends us elsewhere: that IKE SA is deleted; raises PeerError if we do not go there."""
        notify = self._notify(message)
        if notify is None:
            return False
        self._follow(parse_gateway(notify.data)[0], sa.path.remote, now)
        sa.authenticated(now)
        sa.handlers = {ExchangeType.INFORMATIONAL: lambda _message, _now: ()}
        sa.finish(DeleteIke(sa, "redirected"), now)
        self._tunnel.approach.anew(now)
        return True

    def after_auth(self, sa: IkeSa, message: Message, now: float) -> None:
        """An established IKE SA may be redirected too: it stays until there is one with the other gateway."""
        notify = self._notify(message) if sa.initiator and sa.state is State.ESTABLISHED else None
        if notify is None:
            return
        try:
            self._follow(parse_gateway(notify.data)[0], sa.path.remote, now)
            self._tunnel.reauth.start(now)
        except (PeerError, LocalError) as error:
            self._tunnel.note(Kind.FAILED, str(error))

    def _notify(self, message: Message) -> Notify | None:
        accept = self._tunnel.connection.redirection.accept
        return message.notify(NotifyType.REDIRECT) if accept else None

    def _follow(self, target: IPAddress, source: IPAddress, now: float) -> None:
        self._check(target, source, now)
        self._times.append(now)
        self.gateway, self._from = target, source
        self._tunnel.note(Kind.PROGRESS, f"redirected from {source} to {target}")

    def _check(self, target: IPAddress, source: IPAddress, now: float) -> None:
        wanted = self._tunnel.connection.redirection.accept_to
        own = self._tunnel.host.addresses
        if wanted and target not in wanted:
            raise InvalidSyntax(f"redirected to {target}, which accept-redirect-to= does not name")
        if target.version != source.version or target.is_multicast or target.is_unspecified or target in own:
            raise InvalidSyntax(f"redirected from {source} to {target}, where no gateway can be")
        if len(self._times) == MAX_REDIRECTS and now - self._times[0] < REDIRECT_LOOP_DETECT_PERIOD:
            raise InvalidSyntax(f"redirected {MAX_REDIRECTS} times in {REDIRECT_LOOP_DETECT_PERIOD:.0f} seconds")


def can_be_redirected(message: Message) -> bool:
    """Whether the initiator of IKE_SA_INIT goes where it is sent."""
    return any(message.notify(kind) for kind in (NotifyType.REDIRECT_SUPPORTED, NotifyType.REDIRECTED_FROM))


def redirect_init(host: Host, message: Message, local: IPAddress, *, busy: bool) -> Notify | None:
    """What sends an initiator elsewhere before anything is done for it (`global-redirect=`), None if it may stay."""
    wanted = host.settings.redirection
    if not _sends(wanted.send, busy=busy) or not can_be_redirected(message):
        return None
    nonce = message.require(Nonce).data
    came_from = message.notify(NotifyType.REDIRECTED_FROM)
    fitting = [
        target
        for target in wanted.to
        if target.version == local.version
        and target != local
        and (came_from is None or gateway(target) != came_from.data)
    ]
    # Any octet of the nonce is as good as a die.
    return Notify(NotifyType.REDIRECT, gateway(fitting[nonce[0] % len(fitting)]) + nonce) if fitting else None


def _sends(choice: Choice, *, busy: bool) -> bool:
    return choice is Choice.YES or (choice is Choice.AUTO and busy)


def redirect_auth(sa: IkeSa, tunnel: Tunnel, now: float) -> Payloads:
    """What sends a peer elsewhere that has proved who it is (`send-redirect=`); nothing if it may stay.

    The IKE SA then has no Child SA, and answers nothing but its deletion.
    """
    wanted = tunnel.connection.redirection
    fitting = [target for target in wanted.to if target.version == sa.path.local.version and target != sa.path.local]
    if not sa.redirectable or not fitting or not _sends(wanted.send, busy=tunnel.endpoint.reception.busy):
        return ()
    target = fitting[sa.spi_i[0] % len(fitting)]
    tunnel.note(Kind.PROGRESS, f"sending {sa.path.remote} to {target}")
    sa.tunnel = tunnel
    tunnel.endpoint.authenticated(sa)
    answer = {ExchangeType.INFORMATIONAL: lambda message, at: respond_informational(sa, message, at)}
    sa.enter(State.ESTABLISHED, answer)
    sa.host.timers.set(sa, "expire", now + PATIENCE, lambda at: sa.close(at, "the peer did not leave"))
    return (Notify(NotifyType.REDIRECT, gateway(target)),)


class SendAway(Exchange):
    """Send the peer of an established IKE SA to another gateway; it deletes this SA once it is there."""

    type = ExchangeType.INFORMATIONAL

    def __init__(self, sa: IkeSa, target: IPAddress) -> None:
        super().__init__(sa)
        self._target = target

    def request(self, now: float) -> Payloads:
        self.sa.tunnel.note(Kind.PROGRESS, f"sending {self.sa.path.remote} to {self._target}")
        return (Notify(NotifyType.REDIRECT, gateway(self._target)),)

    def response(self, message: Message, now: float) -> None:
        sa = self.sa
        sa.host.timers.set(sa, "redirected", now + PATIENCE, lambda at: sa.finish(DeleteIke(sa, "redirected"), at))

    def failed(self, error: PeerError, now: float) -> None:
        self.sa.tunnel.note(Kind.FAILED, f"{self.sa.path.remote} does not go to {self._target}: {error}")


def send_away(tunnel: Tunnel, target: IPAddress, now: float) -> None:
    """Send the peer of a connection to another gateway; raises LocalError if it does not go where it is sent."""
    name, sa = tunnel.connection.name, tunnel.ike
    if sa is None or not tunnel.usable:
        raise LocalError(f"{name} is not up: there is nobody to redirect")
    if not sa.redirectable:
        raise LocalError(f"the peer of {name} does not go where it is sent: it needs accept-redirect=yes")
    sa.enqueue(SendAway(sa, target), now)
