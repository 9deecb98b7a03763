"""IKE_AUTH in both roles: identities, the proof of a preshared key, and the first Child SA (RFC 7296 section 1.2)."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ikeclone.connection import Connection, Identity, Secret, find_secret
from ikeclone.crypto.keys import child_keys, psk_auth
from ikeclone.errors import AuthenticationFailed, LocalError, PeerError
from ikeclone.ike.actions import Kind, RemoveChild
from ikeclone.ike.exchange import Exchange, Payloads, raise_refusal, refusal
from ikeclone.ike.informational import DeleteIke
from ikeclone.ike.init import InitRecord
from ikeclone.ike.negotiation import Keyed, choose_proposal, make_answer, make_offer
from ikeclone.ike.sa import IkeSa, State
from ikeclone.numbers import AuthMethod, ExchangeType, NotifyType
from ikeclone.selectors import IPAddress
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Auth, IdI, IdR, Notify, Sa

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


def local_identity(connection: Connection, address: IPAddress) -> Identity:
    """Who we are: as configured, or our address."""
    return connection.local.identity or Identity.of_address(address)


def remote_identity(connection: Connection, address: IPAddress) -> Identity:
    """Who the peer must be: as configured, or its address."""
    return connection.remote.identity or Identity.of_address(address)


def secret_for(secrets: tuple[Secret, ...], local: Identity, remote: Identity) -> bytes:
    """The preshared key for a pair of identities; raises LocalError when there is none."""
    secret = find_secret(secrets, local, remote)
    if secret is None:
        raise LocalError(f'no preshared key for {local} and {remote}: add "{local} {remote} : PSK ..." to the secrets')
    return secret.key


class _Proof:
    """The AUTH payloads of both sides over one IKE_SA_INIT (RFC 7296 section 2.15)."""

    def __init__(self, sa: IkeSa, record: InitRecord, key: bytes) -> None:
        self._sa, self._record, self._key = sa, record, key

    def initiator(self, identity: IdI) -> bytes:
        record = self._record
        return self._mac(record.request, record.nonce_r, self._sa.keys.sk_pi, identity.build())

    def responder(self, identity: IdR) -> bytes:
        record = self._record
        return self._mac(record.response, record.nonce_i, self._sa.keys.sk_pr, identity.build())

    def _mac(self, message: bytes, nonce: bytes, sk_p: bytes, identity: bytes) -> bytes:
        return psk_auth(self._sa.suite.prf, self._key, message, nonce, sk_p, identity)


def _check(auth: Auth, expected: bytes) -> None:
    if auth.method is not AuthMethod.SHARED_KEY:
        raise AuthenticationFailed(f"the peer authenticates with {auth.method.name}, not a preshared key")
    if not hmac.compare_digest(auth.data, expected):
        raise AuthenticationFailed("the peer's proof is wrong: do both sides have the same preshared key?")


class Authenticate(Exchange):
    """The initiator's IKE_AUTH, with the offer of the first Child SA."""

    type = ExchangeType.IKE_AUTH

    def __init__(self, sa: IkeSa, record: InitRecord, key: bytes) -> None:
        super().__init__(sa)
        tunnel = sa.tunnel
        self._record = record
        self._proof = _Proof(sa, record, key)
        self._peer = remote_identity(tunnel.connection, sa.path.remote)
        self._offer = make_offer(sa, None, tunnel.resource(None), with_pfs=False)

    def request(self, now: float) -> Payloads:
        sa = self.sa
        me = local_identity(sa.tunnel.connection, sa.path.local)
        identity = IdI(me.type, me.data)
        contact = () if sa.tunnel.ike is not None else (Notify(NotifyType.INITIAL_CONTACT),)
        return (
            identity,
            *contact,
            IdR(self._peer.type, self._peer.data),
            Auth(AuthMethod.SHARED_KEY, self._proof.initiator(identity)),
            *self._offer.payloads(),
        )

    def response(self, message: Message, now: float) -> None:
        if message.first(Auth) is None:
            raise_refusal(message)
        identity = message.require(IdR)
        peer = Identity(identity.type, identity.data)
        if peer != self._peer:
            raise _Unproven(f"the peer is {peer}, not {self._peer}")
        try:
            _check(message.require(Auth), self._proof.responder(identity))
        except AuthenticationFailed as error:
            raise _Unproven(str(error)) from error
        self.sa.enter(State.ESTABLISHED)
        self.sa.tunnel.established(self.sa, now, peer, initial_contact=False)
        self._take_child(message, now)

    def _take_child(self, message: Message, now: float) -> None:
        sa, tunnel = self.sa, self.sa.tunnel
        try:
            raise_refusal(message)
            agreement, _ = self._offer.accept(message)
        except PeerError as error:
            sa.host.emit(RemoveChild(self._offer.spi))
            tunnel.first_child_failed(sa, now, str(error))
            return
        nonces = self._record.nonce_i, self._record.nonce_r
        ours, theirs = child_keys(sa.suite.prf, sa.keys.sk_d, agreement.suite, b"", *nonces)
        tunnel.clones.per_resource = agreement.per_resource
        child = tunnel.children.add(sa, Keyed(agreement, ours, theirs, nonces), now, cpu=None, opened_by_us=True)
        tunnel.children.senders.serve(child)

    def failed(self, error: PeerError, now: float) -> None:
        if isinstance(error, _Unproven):
            # The peer holds this SA for established: tell it (RFC 7296 section 2.21.2).
            self.sa.tunnel.note(Kind.FAILED, str(error))
            self.sa.handlers = {ExchangeType.INFORMATIONAL: lambda _message, _now: ()}
            self.sa.finish(DeleteIke(self.sa, str(error), NotifyType.AUTHENTICATION_FAILED), now)
        elif self.sa.state is not State.DEAD:
            self.sa.close(now, str(error))
        self.dropped()

    def dropped(self) -> None:
        self.sa.host.emit(RemoveChild(self._offer.spi))


class _Unproven(AuthenticationFailed):
    """The responder did not prove its identity, after it had accepted ours."""


class AuthResponder:
    """The responder's IKE_AUTH: finds the connection by the identities, checks the proof and gives ours."""

    def __init__(self, sa: IkeSa, record: InitRecord, tunnels: Iterable[Tunnel]) -> None:
        self._sa, self._record, self._tunnels = sa, record, tuple(tunnels)

    def respond(self, message: Message, now: float) -> Payloads:
        """The handler of the half-open IKE SA; raises AuthenticationFailed."""
        sa, identity = self._sa, message.require(IdI)
        peer = Identity(identity.type, identity.data)
        tunnel = self._find(peer, message.first(IdR))
        me = local_identity(tunnel.connection, sa.path.local)
        try:
            proof = _Proof(sa, self._record, secret_for(tunnel.endpoint.secrets, me, peer))
        except LocalError as error:
            raise AuthenticationFailed(str(error)) from error
        _check(message.require(Auth), proof.initiator(identity))
        sa.tunnel = tunnel
        sa.enter(State.ESTABLISHED)
        contact = message.notify(NotifyType.INITIAL_CONTACT) is not None
        tunnel.established(sa, now, peer, initial_contact=contact)
        mine = IdR(me.type, me.data)
        auth = Auth(AuthMethod.SHARED_KEY, proof.responder(mine))
        return (mine, auth, *self._answer_child(message, now))

    def _find(self, peer: Identity, wanted: IdR | None) -> Tunnel:
        sa = self._sa
        for tunnel in self._tunnels:
            me = local_identity(tunnel.connection, sa.path.local)
            fits = wanted is None or Identity(wanted.type, wanted.data) == me
            if fits and _accepts(tunnel.connection, peer, sa.path.remote):
                return tunnel
        us = "us" if wanted is None else str(Identity(wanted.type, wanted.data))
        raise AuthenticationFailed(f"no connection from {peer} to {us}")

    def _answer_child(self, message: Message, now: float) -> Payloads:
        """The first Child SA; the IKE SA stands without it when it is refused (RFC 7296 section 1.2)."""
        sa, tunnel = self._sa, self._sa.tunnel
        if message.first(Sa) is None:
            return ()
        try:
            chosen = choose_proposal(sa, message, with_pfs=False)
            answer = make_answer(sa, message, chosen, None, tunnel.resource(None))
        except PeerError as error:
            tunnel.note(Kind.FAILED, f"no Child SA for the peer: {error}")
            return (refusal(error),)
        nonces = self._record.nonce_i, self._record.nonce_r
        theirs, ours = child_keys(sa.suite.prf, sa.keys.sk_d, answer.agreement.suite, b"", *nonces)
        tunnel.clones.per_resource = answer.agreement.per_resource
        keyed = Keyed(answer.agreement, ours, theirs, nonces)
        tunnel.children.senders.serve(tunnel.children.add(sa, keyed, now, cpu=None, opened_by_us=False))
        return answer.payloads


def _accepts(connection: Connection, peer: Identity, address: IPAddress) -> bool:
    if connection.remote.identity is None and connection.remote.address is None:
        return True
    return peer == remote_identity(connection, address)
