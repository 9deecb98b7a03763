"""EAP in IKE_AUTH (RFC 7296 section 2.16): rounds of it before the proof, which then is made of the method's key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ikeclone.connection import Identity
from ikeclone.eap.mschapv2 import MsChapPeer, MsChapServer
from ikeclone.eap.peer import EapPeer
from ikeclone.eap.server import EapServer, Failure, Success
from ikeclone.errors import AuthenticationFailed, PeerError
from ikeclone.ike.actions import Kind
from ikeclone.ike.authentication import SharedKey
from ikeclone.ike.exchange import Exchange, Payloads, raise_refusal
from ikeclone.ike.host import Host
from ikeclone.ike.proofs import Proofs
from ikeclone.numbers import ExchangeType, IdType, NotifyType
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Eap, Notify

if TYPE_CHECKING:
    from ikeclone.ike.auth import Authenticate, AuthResponder
    from ikeclone.ike.tunnel import Tunnel

MAX_ROUNDS = 32


def eap_peer(proofs: Proofs, host: Host) -> EapPeer | None:
    """Our side of EAP, None if it is not how we authenticate; raises LocalError without a password."""
    if not proofs.connection.local.auth.eap:
        return None
    user = (proofs.connection.local.user or "").encode()
    return EapPeer(user, (MsChapPeer(user, proofs.password(), host.random),))


def eap_server(proofs: Proofs, host: Host) -> EapServer:
    """The side of EAP that lets in those whose passwords we have, or the one that the connection names."""
    wanted = proofs.connection.remote.user

    def password_of(user: bytes) -> str | None:
        return proofs.credentials.password_of(user) if wanted is None or user == wanted.encode() else None

    return EapServer((MsChapServer(password_of, str(proofs.me).encode(), host.random),), host.random(1)[0])


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
        assert self._eap.msk is not None
        return self._opening.prove_with(SharedKey(self._eap.msk))

    def response(self, message: Message, now: float) -> None:
        asked = message.first(Eap)
        if self._answer is None:
            assert self._eap.msk is not None
            self._opening.finish_with(SharedKey(self._eap.msk), message, now)
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
        self._server = eap_server(tunnel.proofs(self._sa.path), tunnel.host)
        self._rounds = 1

    def start(self) -> Payloads:
        """The first packet; from now on the peer answers with EAP."""
        self._sa.handlers = {ExchangeType.IKE_AUTH: self._respond}
        return (Eap(self._server.start()),)

    def _respond(self, message: Message, now: float) -> Payloads:
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise AuthenticationFailed(f"EAP has not come to an end in {MAX_ROUNDS} rounds")
        match self._server.receive(message.require(Eap).data):
            case Success() as success:
                self._sa.handlers = {ExchangeType.IKE_AUTH: lambda proof, at: self._finish(success, proof, at)}
                return (Eap(success.packet),)
            case Failure(packet, reason):
                self._tunnel.note(Kind.PROGRESS, f"answering IKE_AUTH with EAP Failure: {reason}")
                self._sa.close(now, reason, linger=True)
                return Eap(packet), Notify(NotifyType.AUTHENTICATION_FAILED)
            case packet:
                return (Eap(packet),)

    def _finish(self, success: Success, message: Message, now: float) -> Payloads:
        """The peer is the user whose name it proved; that of its ID payload means nothing."""
        user = Identity(IdType.RFC822_ADDR, success.user)
        return self._opening.finish_with(SharedKey(success.msk), self._tunnel, self._request, message, user, now)
