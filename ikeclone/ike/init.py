"""IKE_SA_INIT in both roles: key exchange, cookies, NAT detection (RFC 7296 section 1.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.crypto import kex
from ikeclone.crypto.keys import ike_keys
from ikeclone.crypto.signature import SignaturePolicy, announce_hashes, announced_hashes
from ikeclone.crypto.suite import IkeSuite
from ikeclone.errors import InvalidKePayload, InvalidSyntax, NoProposalChosen, PeerError
from ikeclone.ike import childless, nat, ppk
from ikeclone.ike.actions import Kind
from ikeclone.ike.exchange import Payloads, raise_refusal
from ikeclone.ike.negotiation import NONCE_SIZE
from ikeclone.ike.proposals import check_choice, choose, has_additional, ke_methods, numbered, with_ke
from ikeclone.ike.redirect import can_be_redirected
from ikeclone.ike.sa import Abilities, IkeSa, State
from ikeclone.numbers import ExchangeType, HashAlgorithm, KeMethod, NotifyType
from ikeclone.wire.message import Header, Message, build_message
from ikeclone.wire.payloads import CertRequest, KeyExchange, Nonce, Notify, Proposal, Sa

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel

NO_SPI = bytes(8)
MAX_RESTARTS = 8


@dataclass(frozen=True, slots=True)
class InitRecord:
    """The IKE_SA_INIT messages as they were on the wire and their nonces, which IKE_AUTH signs; and how to sign.

    `hashes` are those that the peer announced, None if it did not; `wanted` is whose certificates the responder wants;
    `ppk` whether both know of postquantum preshared keys (RFC 8784); `childless` whether IKE_AUTH asks for no Child SA.
    """

    request: bytes
    response: bytes
    nonce_i: bytes
    nonce_r: bytes
    hashes: frozenset[HashAlgorithm] | None = None
    wanted: tuple[CertRequest, ...] = ()
    ppk: bool = False
    childless: bool = False


class Initiation:
    """An IKE SA that we ask for, until its keys are known."""

    def __init__(self, tunnel: Tunnel, path: Path, now: float) -> None:
        self.tunnel, self.host, self.path = tunnel, tunnel.host, path
        self.local_spi = self.host.spi()
        self._nonce = self.host.random(NONCE_SIZE)
        self._proposals = numbered(tunnel.connection.ike, b"")
        self._methods = ke_methods(self._proposals)
        self._pair = kex.generate(self._methods[0], self.host.random)
        self._cookie: tuple[Notify, ...] = ()
        self._restarts = 0
        self._since = now
        self._send(now)

    def receive(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        """Take the response. Its notifies are not authenticated: a cookie or another method is obeyed a few times."""
        header = message.header
        if (header.exchange, header.message_id, header.response) != (ExchangeType.IKE_SA_INIT, 0, True):
            self.host.count("unexpected message during IKE_SA_INIT")
            return
        try:
            if self.tunnel.redirects.before_auth(message, self._nonce, self.path.remote, now):
                return
            if not self._restart(message, now):
                raise_refusal(message)
                self._complete(message, datagram, path, now)
        except PeerError as error:
            self.fail(now, str(error))

    def fail(self, now: float, reason: str) -> None:
        """Give up."""
        self.host.timers.cancel(self)
        self.tunnel.initiation_failed(self, now, reason)

    def _restart(self, message: Message, now: float) -> bool:
        cookie = message.notify(NotifyType.COOKIE)
        wanted = message.notify(NotifyType.INVALID_KE_PAYLOAD)
        if cookie is None and wanted is None:
            return False
        self._restarts += 1
        if self._restarts > MAX_RESTARTS:
            raise InvalidSyntax("the peer wants IKE_SA_INIT repeated again and again")
        if cookie is not None:
            self._cookie = (Notify(NotifyType.COOKIE, cookie.data),)
        elif wanted is not None:
            method = KeMethod(int.from_bytes(wanted.data, "big"))
            if method not in self._methods or method == self._pair.method:
                raise NoProposalChosen(f"the peer wants the key exchange method {method.name}")
            self._pair = kex.generate(method, self.host.random)
        self._send(now)
        return True

    def _send(self, now: float) -> None:
        tunnel = self.tunnel
        payloads: Payloads = (
            *self._cookie,
            Sa(self._proposals),
            KeyExchange(self._pair.method, self._pair.public),
            Nonce(self._nonce),
            *_notifies(tunnel, self.local_spi, NO_SPI, self.path),
            *_intermediate(self._proposals),
            *ppk.offer((tunnel,)),
            *_hashes((tunnel,)),
            *tunnel.redirects.announce(),
        )
        header = Header(self.local_spi, NO_SPI, ExchangeType.IKE_SA_INIT, 0, True, False)
        self._request = build_message(header, payloads)
        self._sent = 0
        self._transmit(now)

    def _transmit(self, now: float) -> None:
        timing = self.tunnel.connection.timing
        waited = now - self._since
        if now >= self._since + timing.retransmit_timeout:
            self.fail(now, f"no response from {self.path.remote} to IKE_SA_INIT for {waited:.0f} seconds")
            return
        if self._sent:
            text = f"retransmission {self._sent} of IKE_SA_INIT; no response for {waited:.1f} seconds"
            self.tunnel.note(Kind.PROGRESS, text)
        self.host.send((self._request,), self.path)
        self._sent += 1
        self.host.timers.set(self, "retransmit", timing.retransmit_at(self._since, now, self._sent), self._transmit)

    def _complete(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        header, theirs = message.header, message.require(KeyExchange)
        suite = IkeSuite.of(check_choice(self._proposals, message.require(Sa).proposals))
        if header.responder_spi == NO_SPI or not suite.ke == theirs.method == self._pair.method:
            raise InvalidSyntax("the IKE_SA_INIT response does not fit the request")
        _check_intermediate(suite, message)
        nonces = self._nonce, message.require(Nonce).data
        agreed = ppk.agreed((self.tunnel,), message), childless.agreed(self.tunnel.connection, message)
        record = InitRecord(self._request, datagram, *nonces, _peer_hashes(message), message.all(CertRequest), *agreed)
        spis = header.initiator_spi, header.responder_spi
        keys = ike_keys(suite, self._pair.shared(theirs.data), record.nonce_i, record.nonce_r, *spis)
        abilities = _abilities(self.tunnel, message, path)
        if abilities.nat.encapsulate or (abilities.nat.supported and self.tunnel.connection.mobike):
            # With MOBIKE also where there is no NAT yet (RFC 4555 section 3.3).
            path = replace(path, local_port=nat.PORT, remote_port=nat.PORT)
        self.host.timers.cancel(self)
        sa = IkeSa(
            self.host,
            self.tunnel,
            State.AUTHENTICATING,
            initiator=True,
            spis=spis,
            suite=suite,
            keys=keys,
            path=path,
            abilities=abilities,
            now=now,
        )
        self.tunnel.keyed(self, sa, record, now)


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """The responder's result: an IKE SA that awaits IKE_AUTH, and what was said until then."""

    sa: IkeSa
    record: InitRecord


def respond_init(tunnels: tuple[Tunnel, ...], message: Message, datagram: bytes, path: Path, now: float) -> HalfOpen:
    """Answer IKE_SA_INIT for one of the connections to this peer; raises PeerError."""
    theirs = message.require(KeyExchange)
    tunnel, chosen = _choose(tunnels, message.require(Sa).proposals, theirs.method)
    suite = IkeSuite.of(chosen)
    _check_intermediate(suite, message)
    if theirs.method != suite.ke:
        raise InvalidKePayload(f"{suite.ke.name} is wanted", suite.ke.to_bytes(2, "big"))
    agreed = ppk.agreed(tunnels, message)
    host = tunnel.host
    public, shared = kex.encapsulate(suite.ke, theirs.data, host.random)
    spi_i, spi_r = message.header.initiator_spi, host.spi()
    nonces = message.require(Nonce).data, host.random(NONCE_SIZE)
    payloads: Payloads = (
        Sa((chosen,)),
        KeyExchange(suite.ke, public),
        Nonce(nonces[1]),
        *_notifies(tunnel, spi_i, spi_r, path),
        *_intermediate((chosen,)),
        *(ppk.offer(tunnels) if agreed else ()),
        *childless.announce(tunnels),
        *_hashes(tunnels),
        *_requests(tunnels, path),
    )
    response = build_message(Header(spi_i, spi_r, ExchangeType.IKE_SA_INIT, 0, False, True), payloads)
    sa = IkeSa(
        host,
        tunnel,
        State.HALF_OPEN,
        initiator=False,
        spis=(spi_i, spi_r),
        suite=suite,
        keys=ike_keys(suite, shared, *nonces, spi_i, spi_r),
        path=path,
        abilities=_abilities(tunnel, message, path),
        now=now,
    )
    sa.redirectable = can_be_redirected(message)
    return HalfOpen(sa, InitRecord(datagram, response, *nonces, _peer_hashes(message), ppk=agreed))


def _choose(tunnels: tuple[Tunnel, ...], offered: tuple[Proposal, ...], guess: KeMethod) -> tuple[Tunnel, Proposal]:
    """The first connection that takes the offer; with the method that the initiator guessed, if it takes that."""
    for tunnel in tunnels:
        ike = tunnel.connection.ike
        guessed = with_ke(ike, (guess,)) if guess in ke_methods(ike) else ()
        for configured in (guessed, ike):
            try:
                return tunnel, choose(offered, configured, spi_size=0)
            except NoProposalChosen:
                continue
    raise NoProposalChosen("no connection takes one of the IKE proposals")


def _notifies(tunnel: Tunnel, spi_i: bytes, spi_r: bytes, path: Path) -> tuple[Notify, ...]:
    fragmentation = (Notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED),) if tunnel.connection.fragmentation else ()
    if not tunnel.detects_nat:
        return fragmentation
    detection = nat.notifies(spi_i, spi_r, path, tunnel.forces_encapsulation, tunnel.host.random)
    return (*detection, *fragmentation)


def _intermediate(proposals: tuple[Proposal, ...]) -> tuple[Notify, ...]:
    """That we take IKE_INTERMEDIATE, where it is needed for additional key exchanges (RFC 9370 section 2.2.1)."""
    return (Notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED),) if has_additional(proposals) else ()


def _check_intermediate(suite: IkeSuite, message: Message) -> None:
    if suite.additional and message.notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED) is None:
        raise NoProposalChosen("additional key exchanges without IKE_INTERMEDIATE")


def _hashes(tunnels: tuple[Tunnel, ...]) -> Payloads:
    """The hashes of the signatures that we accept for one of these connections (RFC 7427 section 4)."""
    policies = [policy for tunnel in tunnels if (policy := tunnel.connection.remote.auth.signatures) is not None]
    hashes = tuple(dict.fromkeys(algorithm for policy in policies for algorithm in policy.hashes))
    return (Notify(NotifyType.SIGNATURE_HASH_ALGORITHMS, announce_hashes(SignaturePolicy(hashes))),) if hashes else ()


def _peer_hashes(message: Message) -> frozenset[HashAlgorithm] | None:
    announced = message.notify(NotifyType.SIGNATURE_HASH_ALGORITHMS)
    return None if announced is None else announced_hashes(announced.data)


def _requests(tunnels: tuple[Tunnel, ...], path: Path) -> Payloads:
    """The authorities whose certificates we accept for one of these connections (RFC 7296 section 3.7)."""
    return tuple(dict.fromkeys(request for tunnel in tunnels for request in tunnel.proofs(path).requests()))


def _abilities(tunnel: Tunnel, message: Message, path: Path) -> Abilities:
    fragmentation = message.notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED) is not None
    found = nat.detect(message, path, tunnel.forces_encapsulation) if tunnel.detects_nat else nat.Nat()
    return Abilities(fragmentation and tunnel.connection.fragmentation, found)
