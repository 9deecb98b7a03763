"""EAP in IKE_AUTH (RFC 7296 section 2.16): rounds of it before the proof, which then is made of the method's key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.connection import Connection, Identity
from ikeclone.eap.method import PeerMethod, ServerMethod
from ikeclone.eap.mschapv2 import MsChapPeer, MsChapServer
from ikeclone.eap.peer import EapPeer
from ikeclone.eap.server import EapServer, Failure, Success
from ikeclone.eap.tls import Papers, TlsPeer, TlsServer
from ikeclone.errors import AuthenticationFailed, InvalidSyntax, LocalError, PeerError
from ikeclone.ike.actions import Kind
from ikeclone.ike.authentication import EapKey
from ikeclone.ike.exchange import Exchange, Payloads, raise_refusal
from ikeclone.ike.host import Host
from ikeclone.ike.proofs import Proofs
from ikeclone.numbers import EapType, ExchangeType, IdType, NotifyType, ProtocolId
from ikeclone.pki.certificate import Certificate
from ikeclone.pki.revocation import Evidence
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Delete, Eap, IdI, Notify

if TYPE_CHECKING:
    from collections.abc import Callable

    from ikeclone.ike.auth import Authenticate, AuthResponder
    from ikeclone.ike.sa import Handler
    from ikeclone.ike.tunnel import Tunnel

MAX_ROUNDS = 32


class Shown:
    """What the other side shows in EAP-TLS; `other` tells who it says that it is."""

    def __init__(self, proofs: Proofs, host: Host, other: Callable[[], Identity]) -> None:
        self._proofs, self._host, self._other = proofs, host, other
        self._chain: tuple[Certificate, ...] = ()

    def papers(self) -> Papers:
        """Ours, and the check of the other side's; raises LocalError without a certificate of ours."""
        return Papers(*self._proofs.papers(), self._check)

    def _check(self, chain: tuple[Certificate, ...]) -> None:
        self._proofs.check_shown(chain, self._other(), self._host.wall())
        self._chain = chain

    def settle(self) -> None:
        """See that no certificate was revoked, which may have to be found out first: not in the middle of TLS."""
        if self._chain:
            self._proofs.settle_shown(self._chain, Evidence(), self._host.wall())


def eap_peer(proofs: Proofs, host: Host, shown: Shown) -> EapPeer | None:
    """Our side of EAP, None if it is not how we authenticate.

    Raises LocalError without a password or a certificate.
    """
    local = proofs.connection.local
    if not local.auth.eap:
        return None
    user = (local.user or _name(proofs.me)).encode()

    def method(kind: EapType) -> PeerMethod:
        if kind is EapType.TLS:
            return TlsPeer(shown.papers())
        return MsChapPeer(user, proofs.password(), host.random)

    return EapPeer(user, tuple(map(method, local.auth.eap)))


def eap_server(proofs: Proofs, host: Host, shown: Shown) -> EapServer:
    """The side of EAP that lets in those whose passwords we have, or the one that the connection names.

    Raises LocalError without a certificate of ours where peers show theirs.
    """
    wanted = proofs.connection.remote.user

    def password_of(user: bytes) -> str | None:
        return proofs.credentials.password_of(user) if wanted is None or user == wanted.encode() else None

    def method(kind: EapType) -> ServerMethod:
        if kind is EapType.TLS:
            return TlsServer(shown.papers())
        return MsChapServer(password_of, str(proofs.me).encode(), host.random)

    return EapServer(tuple(map(method, proofs.connection.remote.auth.eap)), host.random(1)[0])


def _name(identity: Identity) -> str:
    """An identity as one says it to an EAP server."""
    return str(identity).removeprefix("@")


def eap_alone(connection: Connection, request: Message) -> bool:
    """Whether EAP, which the initiator asks for, is to prove who the responder is, too (RFC 5998)."""
    return bool(connection.local.auth.eap) and request.notify(NotifyType.EAP_ONLY_AUTHENTICATION) is not None


class EapRound(Exchange):
    """Our answer to a packet of the server's or, after success, our proof; `opening` is the IKE_AUTH before it.

    Raises PeerError when the server lets us not in, or when there is no end of rounds.
    """

    type = ExchangeType.IKE_AUTH

    def __init__(self, opening: Authenticate, eap: EapPeer, asked: Eap, rounds: int = 1) -> None:
        super().__init__(opening.sa)
        if rounds > MAX_ROUNDS:
            raise AuthenticationFailed(f"the EAP server has not come to an end in {MAX_ROUNDS} rounds")
        self._opening, self._eap, self._rounds = opening, eap, rounds
        self._answer = eap.respond(asked.data)

    def request(self, now: float) -> Payloads:
        if self._answer is not None:
            return (Eap(self._answer),)
        return self._opening.prove_with(self._key())

    def _key(self) -> EapKey:
        assert self._eap.msk is not None
        return EapKey(self._eap.msk, self._opening.shown.settle)

    def response(self, message: Message, now: float) -> None:
        asked = message.first(Eap)
        if self._answer is None:
            self._opening.finish_with(self._key(), message, now)
        elif asked is not None:
            self.sa.enqueue(EapRound(self._opening, self._eap, asked, self._rounds + 1), now)
        else:
            raise_refusal(message)
            message.require(Eap)

    def failed(self, error: PeerError, now: float) -> None:
        self._opening.failed(error, now)

    def dropped(self) -> None:
        self._opening.dropped()


class EapResponder:
    """The rounds with a peer that gave no proof in `request`, which is answered in the end."""

    def __init__(self, opening: AuthResponder, tunnel: Tunnel, request: Message) -> None:
        self._opening, self._tunnel, self._request = opening, tunnel, request
        self._sa = opening.sa
        identity = request.require(IdI)
        self._peer = Identity(identity.type, identity.data)
        proofs = tunnel.proofs(self._sa.path)
        self._shown = Shown(proofs, tunnel.host, lambda: self._peer)
        try:
            self._server = eap_server(proofs, tunnel.host, self._shown)
        except LocalError as error:
            raise AuthenticationFailed(str(error)) from error
        self._rounds = 1

    def start(self) -> Payloads:
        """The first packet; from now on the peer answers with EAP."""
        self._await(self._respond)
        return (Eap(self._server.start()),)

    def _await(self, handler: Handler) -> None:
        self._sa.handlers = {ExchangeType.IKE_AUTH: handler, ExchangeType.INFORMATIONAL: self._given_up}

    def _given_up(self, message: Message, now: float) -> Payloads:
        """The peer does not believe that we are who we say, and tells us (RFC 7296 section 2.21.2)."""
        gone = any(delete.protocol is ProtocolId.IKE for delete in message.all(Delete))
        if message.notify(NotifyType.AUTHENTICATION_FAILED) is None and not gone:
            raise InvalidSyntax("INFORMATIONAL before EAP has come to its end")
        reason = "the peer rejects our authentication"
        self._tunnel.note(Kind.PROGRESS, f"{reason}: EAP ends")
        self._sa.close(now, reason, linger=True)
        return ()

    def _respond(self, message: Message, now: float) -> Payloads:
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise AuthenticationFailed(f"EAP has not come to an end in {MAX_ROUNDS} rounds")
        match self._server.receive(message.require(Eap).data):
            case Success() as success:
                self._await(lambda proof, at: self._finish(success, proof, at))
                return (Eap(success.packet),)
            case Failure(packet, reason):
                self._tunnel.note(Kind.PROGRESS, f"answering IKE_AUTH with EAP Failure: {reason}")
                self._sa.close(now, reason, linger=True)
                return Eap(packet), Notify(NotifyType.AUTHENTICATION_FAILED)
            case packet:
                return (Eap(packet),)

    def _finish(self, success: Success, message: Message, now: float) -> Payloads:
        """The peer is the user whose name it proved; without one that of its ID payload, which its certificate has."""
        user = Identity(IdType.RFC822_ADDR, success.user) if success.user else self._peer
        key = EapKey(success.msk, self._shown.settle)
        return self._opening.finish_with(key, self._tunnel, self._request, message, user, now)
