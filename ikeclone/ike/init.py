"""IKE_SA_INIT in both roles: key exchange, cookies, NAT detection (RFC 7296 section 1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.backend import Path
from ikeclone.crypto import kex
from ikeclone.crypto.keys import ike_keys
from ikeclone.crypto.signature import SignaturePolicy, announce_hashes, announced_hashes
from ikeclone.crypto.suite import IkeSuite
from ikeclone.errors import InvalidKePayload, InvalidSyntax, NoProposalChosen
from ikeclone.ike import childless, ppk
from ikeclone.ike.exchange import Payloads, raise_refusal
from ikeclone.ike.negotiation import NONCE_SIZE
from ikeclone.ike.opening import NO_SPI, HalfOpen, InitRecord, Opening, half_open, manners
from ikeclone.ike.proposals import check_choice, choose, has_additional, ke_methods, numbered, with_ke
from ikeclone.ike.redirect import can_be_redirected
from ikeclone.numbers import ExchangeType, HashAlgorithm, KeMethod, NotifyType
from ikeclone.wire.message import Header, Message, build_message
from ikeclone.wire.payloads import CertRequest, KeyExchange, Nonce, Notify, Proposal, Sa

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


class Initiation(Opening):
    """IKE_SA_INIT."""

    type = ExchangeType.IKE_SA_INIT

    def __init__(self, tunnel: Tunnel, path: Path, now: float) -> None:
        self._proposals = numbered(tunnel.connection.ike, b"")
        self._methods = ke_methods(self._proposals)
        self._pair = kex.generate(self._methods[0], tunnel.host.random)
        super().__init__(tunnel, path, now)

    def payloads(self) -> Payloads:
        tunnel = self.tunnel
        return (
            Sa(self._proposals),
            KeyExchange(self._pair.method, self._pair.public),
            Nonce(self.nonce),
            *manners(tunnel, self.local_spi, NO_SPI, self.path),
            *_intermediate(self._proposals),
            *ppk.offer((tunnel,)),
            *_hashes((tunnel,)),
            *tunnel.redirects.announce(),
        )

    def take(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        if self.tunnel.redirects.before_auth(message, self.nonce, self.path.remote, now):
            return
        if (wanted := message.notify(NotifyType.INVALID_KE_PAYLOAD)) is not None:
            self._use(KeMethod(int.from_bytes(wanted.data, "big")))
            self.restart(now)
        else:
            raise_refusal(message)
            self._complete(message, datagram, path, now)

    def _use(self, method: KeMethod) -> None:
        if method not in self._methods or method == self._pair.method:
            raise NoProposalChosen(f"the peer wants the key exchange method {method.name}")
        self._pair = kex.generate(method, self.host.random)

    def _complete(self, message: Message, datagram: bytes, path: Path, now: float) -> None:
        header, theirs = message.header, message.require(KeyExchange)
        suite = IkeSuite.of(check_choice(self._proposals, message.require(Sa).proposals))
        if header.responder_spi == NO_SPI or not suite.ke == theirs.method == self._pair.method:
            raise InvalidSyntax("the IKE_SA_INIT response does not fit the request")
        _check_intermediate(suite, message)
        nonces = self.nonce, message.require(Nonce).data
        agreed = ppk.agreed((self.tunnel,), message), childless.agreed(self.tunnel, message)
        record = InitRecord(self.request, datagram, *nonces, _peer_hashes(message), message.all(CertRequest), *agreed)
        spis = header.initiator_spi, header.responder_spi
        keys = ike_keys(suite, self._pair.shared(theirs.data), record.nonce_i, record.nonce_r, *spis)
        self.keyed(suite, keys, record, message, path, now)


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
        *manners(tunnel, spi_i, spi_r, path),
        *_intermediate((chosen,)),
        *(ppk.offer(tunnels) if agreed else ()),
        *childless.announce(tunnels),
        *_hashes(tunnels),
        *_requests(tunnels, path),
    )
    response = build_message(Header(spi_i, spi_r, ExchangeType.IKE_SA_INIT, 0, False, True), payloads)
    keys = ike_keys(suite, shared, *nonces, spi_i, spi_r)
    sa = half_open(tunnel, message, path, spi_r, suite, keys, now)
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
