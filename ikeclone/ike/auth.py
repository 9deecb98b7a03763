"""IKE_AUTH in both roles: identities, their proofs, and the first Child SA (RFC 7296 section 1.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ikeclone.connection import Choice, Identity
from ikeclone.crypto.keys import IkeKeys
from ikeclone.errors import AuthenticationFailed, LocalError, PeerError
from ikeclone.ike import childless, message_ids, mobike, ppk, resumed, tickets
from ikeclone.ike.actions import Kind
from ikeclone.ike.authentication import Covered, EapKey
from ikeclone.ike.contact import is_initial
from ikeclone.ike.eap_auth import EapResponder, EapRound, Shown, eap_alone, eap_peer
from ikeclone.ike.exchange import Exchange, Payloads, raise_refusal
from ikeclone.ike.first_child import FirstChild, answer_first_child
from ikeclone.ike.informational import DeleteIke
from ikeclone.ike.negotiation import has_first, has_traffic
from ikeclone.ike.opening import InitRecord
from ikeclone.ike.proofs import Proofs, accepts, allows
from ikeclone.ike.redirect import redirect_auth
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import AuthMethod, ExchangeType, NotifyType
from ikeclone.pki.identity import matches
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Auth, CertRequest, Eap, IdI, IdR, Notify

if TYPE_CHECKING:
    from ikeclone.ike.tunnel import Tunnel


def _initiator(sa: IkeSa, record: InitRecord, identity: IdI, keys: IkeKeys) -> Covered:
    """What the initiator's AUTH payload covers (RFC 7296 section 2.15)."""
    intermediate = sa.channel.transcript.octets()
    return Covered(sa.suite.prf, record.request, record.nonce_r, keys.sk_pi, identity.build(), intermediate)


def _responder(sa: IkeSa, record: InitRecord, identity: IdR, keys: IkeKeys) -> Covered:
    """What the responder's AUTH payload covers."""
    intermediate = sa.channel.transcript.octets()
    return Covered(sa.suite.prf, record.response, record.nonce_i, keys.sk_pr, identity.build(), intermediate)


class Authenticate(Exchange):
    """The initiator's IKE_AUTH, with the offer of the first Child SA.

    Raises LocalError if there is no way for us to prove who we are, PeerError if the peer's IKE_SA_INIT makes no sense.
    """

    type = ExchangeType.IKE_AUTH

    def __init__(self, sa: IkeSa, record: InitRecord) -> None:
        super().__init__(sa)
        tunnel = sa.tunnel
        self._record = record
        self._proofs = resumed.proofs(tunnel, sa.path, record.session)
        self._me = IdI(self._proofs.me.type, self._proofs.me.data)
        self.shown = Shown(self._proofs, sa.host, lambda: Identity(self._peer.type, self._peer.data))
        self._eap = eap_peer(self._proofs, sa.host, self.shown) if record.session is None else None
        self._mixing = ppk.Mixing(sa, self._proofs, agreed=record.ppk and self._eap is None)
        self._auth = () if self._eap else (self._prove(self._mixing.keys),)
        self._ppk = self._mixing.notifies(self._prove(sa.keys) if self._mixing.optional else None)
        self._certificates = self._proofs.certificates(record.wanted)
        self._child = FirstChild(sa, record)

    def _prove(self, keys: IkeKeys) -> Auth:
        return self._proofs.prover(None).prove(self._covered(keys), self._record.hashes)

    def _covered(self, keys: IkeKeys) -> Covered:
        return _initiator(self.sa, self._record, self._me, keys)

    def request(self, now: float) -> Payloads:
        peer = self._proofs.named
        return (
            self._me,
            *self._certificates,
            *self._contact(),
            *self._proofs.requests(),
            *(() if peer is None else (IdR(peer.type, peer.data),)),
            *self._auth,
            *self._alone(),
            *self._child.payloads(),
            *self._ppk,
            *mobike.announce(self.sa),
            *message_ids.announce(),
            *self.sa.tunnel.resumption.ask(),
        )

    def _contact(self) -> Payloads:
        """That we have no other IKE SA, which only one with a name can say (RFC 7619)."""
        nameless = any(auth.method is AuthMethod.NULL for auth in self._auth)
        return () if nameless or not is_initial(self.sa, self._proofs) else (Notify(NotifyType.INITIAL_CONTACT),)

    def _alone(self) -> Payloads:
        """That EAP may prove who the responder is, too, if it may (RFC 5998)."""
        return (Notify(NotifyType.EAP_ONLY_AUTHENTICATION),) if self._proofs.connection.remote.auth.eap else ()

    def response(self, message: Message, now: float) -> None:
        if message.first(Auth) is None:
            raise_refusal(message)
            if self._eap is not None and self._alone():
                self._peer = message.require(IdR)
                self.sa.enqueue(EapRound(self, self._eap, message.require(Eap)), now)
                return
        identity, auth = message.require(IdR), message.require(Auth)
        peer = Identity(identity.type, identity.data)
        try:
            keys = self._mixing.settle(message)
            checker = self._proofs.checker(auth.method, peer, message, self.sa.host.wall())
            checker.check(auth, _responder(self.sa, self._record, identity, keys))
        except PeerError as error:
            raise _Unproven(str(error)) from error
        self.sa.keys, self._peer = keys, identity
        if self._eap is not None:
            self.sa.enqueue(EapRound(self, self._eap, message.require(Eap)), now)
        else:
            self._establish(message, now)

    def prove_with(self, key: EapKey) -> Payloads:
        """Our proof after EAP, with the key that it made."""
        return (key.prove(self._covered(self.sa.keys), None),)

    def finish_with(self, key: EapKey, message: Message, now: float) -> None:
        """The answer to `prove_with`: the responder has that key too."""
        if message.first(Auth) is None:
            raise_refusal(message)
        try:
            key.check(message.require(Auth), _responder(self.sa, self._record, self._peer, self.sa.keys))
        except PeerError as error:
            raise _Unproven(str(error)) from error
        self._establish(message, now)

    def _establish(self, message: Message, now: float) -> None:
        if self.sa.tunnel.redirects.in_auth(self.sa, message, now):
            self.dropped()
            return
        self.sa.enter(State.ESTABLISHED)
        mobike.agree(self.sa, message, decides=True)
        message_ids.agree(self.sa, message)
        peer = Identity(self._peer.type, self._peer.data)
        self.sa.tunnel.succession.established(self.sa, now, peer, initial_contact=False)
        self.sa.tunnel.reauth.heed(message, now)
        self.sa.tunnel.resumption.keep(self.sa, message, now)
        self._child.take(message, now)

    def failed(self, error: PeerError, now: float) -> None:
        if isinstance(error, _Unproven):
            # The peer holds this SA for established: tell it (RFC 7296 section 2.21.2).
            self.sa.tunnel.note(Kind.FAILED, str(error))
            self.sa.handlers = {ExchangeType.INFORMATIONAL: lambda _message, _now: ()}
            self.sa.finish(DeleteIke(self.sa, str(error), NotifyType.AUTHENTICATION_FAILED), now)
        elif self._record.session is not None:
            self.sa.tunnel.note(Kind.PROGRESS, f"not resumed: {error}")
            self.sa.tunnel.resumption.refused(error)
            self.sa.discard()
            self.sa.tunnel.approach.anew(now)
        else:
            self.sa.close(now, str(error))
        self.dropped()

    def dropped(self) -> None:
        self._child.dropped()


class _Unproven(AuthenticationFailed):
    """The responder did not prove its identity, after it had accepted ours."""


class AuthResponder:
    """The responder's IKE_AUTH: finds the connection by the identities, checks the proof and gives ours."""

    def __init__(self, sa: IkeSa, record: InitRecord, tunnels: Iterable[Tunnel]) -> None:
        self.sa, self._record, self._tunnels = sa, record, tuple(tunnels)

    def respond(self, message: Message, now: float) -> Payloads:
        """The handler of the half-open IKE SA; raises AuthenticationFailed."""
        if message.first(Auth) is None and self._record.session is None:
            return self._start_eap(message)
        sa, identity, auth = self.sa, message.require(IdI), message.require(Auth)
        peer = Identity(identity.type, identity.data)
        tunnel, session = self._find(peer, message, auth.method), self._record.session
        proofs = resumed.proofs(tunnel, sa.path, session)
        checker = proofs.checker(auth.method, peer, message, sa.host.wall())
        keys, auth, named = ppk.answer(sa, proofs, peer, message, agreed=self._record.ppk)
        checker.check(auth, _initiator(sa, self._record, identity, keys))
        childless.check(tunnel.connection, message)
        if session is not None:
            tunnel.endpoint.tickets.redeem(session)
        sa.keys = keys
        ours = self._prove(proofs, peer, message)
        if away := redirect_auth(sa, tunnel, now):
            return (*ours, *named, *away)
        contact = auth.method is not AuthMethod.NULL and message.notify(NotifyType.INITIAL_CONTACT) is not None
        self._establish(tunnel, peer if session is None else session.peer, message, now, contact=contact)
        return (*ours, *self._grant(message, now), *named)

    def _start_eap(self, message: Message) -> Payloads:
        """No proof in the first request: the peer wants to give it with EAP, once it has ours (section 2.16)."""
        identity = message.require(IdI)
        peer = Identity(identity.type, identity.data)
        tunnel = self._find(peer, message, None)
        if not tunnel.connection.remote.auth.eap:
            raise AuthenticationFailed(f"the peer wants to authenticate with EAP, not {tunnel.connection.remote.auth}")
        if tunnel.connection.ppk is Choice.YES:
            raise AuthenticationFailed("with EAP there is no postquantum preshared key, on which ppk=insist insists")
        childless.check(tunnel.connection, message)
        proofs = tunnel.proofs(self.sa.path)
        alone = eap_alone(tunnel.connection, message)
        ours = (IdR(proofs.me.type, proofs.me.data),) if alone else self._prove(proofs, peer, message)
        return (*ours, *EapResponder(self, tunnel, message).start())

    def finish_with(
        self, key: EapKey, tunnel: Tunnel, request: Message, proof: Message, user: Identity, now: float
    ) -> Payloads:
        """After EAP both prove that they have its key; then `request`, the first one, gets its answer."""
        key.check(proof.require(Auth), _initiator(self.sa, self._record, request.require(IdI), self.sa.keys))
        me = tunnel.proofs(self.sa.path).me
        ours = key.prove(_responder(self.sa, self._record, IdR(me.type, me.data), self.sa.keys), None)
        if away := redirect_auth(self.sa, tunnel, now):
            return (ours, *away)
        contact = request.notify(NotifyType.INITIAL_CONTACT) is not None
        self._establish(tunnel, user, request, now, contact=contact)
        return (ours, *self._grant(request, now))

    def _grant(self, request: Message, now: float) -> Payloads:
        """What the peer gets beside our proof."""
        sa = self.sa
        child = answer_first_child(sa, self._record, request, now)
        former = self._record.session
        if former is not None:
            resumed.drop_former(sa, now)
        ticket = tickets.give(sa, request, float("inf") if former is None else former.expires, now)
        return (*sa.tunnel.reauth.lifetime(), *child, *mobike.answer(sa), *message_ids.agree(sa, request), *ticket)

    def _establish(self, tunnel: Tunnel, peer: Identity, request: Message, now: float, *, contact: bool) -> None:
        tunnel = tunnel.serving(peer, self.sa.path, request)
        self.sa.pass_to(tunnel)
        identity = request.require(IdI)
        self.sa.presented = Identity(identity.type, identity.data)
        mobike.agree(self.sa, request, decides=False)
        self.sa.enter(State.ESTABLISHED)
        tunnel.succession.established(self.sa, now, peer, initial_contact=contact)

    def _prove(self, proofs: Proofs, peer: Identity, message: Message) -> Payloads:
        mine = IdR(proofs.me.type, proofs.me.data)
        try:
            auth = proofs.prover(peer).prove(_responder(self.sa, self._record, mine, self.sa.keys), self._record.hashes)
        except LocalError as error:
            raise AuthenticationFailed(str(error)) from error
        return (mine, *proofs.certificates(message.all(CertRequest)), auth)

    def _find(self, peer: Identity, message: Message, method: AuthMethod | None) -> Tunnel:
        """The connection of both identities; of several, one that the peer authenticates for as it may.

        Of these, one that has the traffic of the first Child SA.
        """
        wanted = message.first(IdR)
        us = None if wanted is None else Identity(wanted.type, wanted.data)
        fitting = [tunnel for tunnel in self._tunnels if self._fits(tunnel, peer, us)]
        if not fitting:
            raise AuthenticationFailed(f"no connection from {peer} to {us or 'us'}")
        allowed = [t for t in fitting if allows(t.connection.remote.auth, method)] or fitting
        fitting = [t for t in allowed if has_traffic(t.connection, self.sa.path, message)] or allowed
        return next((t for t in fitting if has_first(t.connection, self.sa.path, message)), fitting[0])

    def _fits(self, tunnel: Tunnel, peer: Identity, us: Identity | None) -> bool:
        ours = us is None or matches(tunnel.proofs(self.sa.path).me, us)
        there = tunnel.endpoint.tunnels.get(tunnel.connection.name) is tunnel
        return there and ours and accepts(tunnel.connection, peer, self.sa.path.remote)
