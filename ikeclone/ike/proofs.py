"""Who we are and who the peer must be, and what proves it for a connection with the credentials of the host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.serialization import Encoding

from ikeclone.connection import Authby, Choice, Connection, Identity, SendCert, find_secret
from ikeclone.credentials import Credentials
from ikeclone.crypto.signature import PrivateKey, PublicKey
from ikeclone.errors import AuthenticationFailed, LocalError
from ikeclone.ike.authentication import Checker, Nobody, Prover, SharedKey, Signer, Verifier
from ikeclone.ike.exchange import Payloads
from ikeclone.numbers import AuthMethod, CertEncoding, EapType, IdType
from ikeclone.pki.certificate import Certificate, load_certificate, public_key
from ikeclone.pki.identity import check_identity, is_pattern, matches
from ikeclone.pki.ocsp import load_response
from ikeclone.pki.path import validate
from ikeclone.pki.revocation import Evidence, load_crl
from ikeclone.pki.standing import Standing
from ikeclone.pki.store import Store
from ikeclone.selectors import IPAddress
from ikeclone.wire.message import Message
from ikeclone.wire.payloads import Certificate as CertPayload
from ikeclone.wire.payloads import CertRequest

SIGNATURES = (
    AuthMethod.DIGITAL_SIGNATURE,
    AuthMethod.RSA_SIGNATURE,
    AuthMethod.ECDSA_256,
    AuthMethod.ECDSA_384,
    AuthMethod.ECDSA_521,
)
_MOST_CERTIFICATES = 16


def local_identity(connection: Connection, address: IPAddress) -> Identity:
    """Who we are: as configured, or nobody, or our address."""
    if connection.local.identity is not None:
        return connection.local.identity
    return Identity(IdType.NULL, b"") if connection.local.auth == Authby(null=True) else Identity.of_address(address)


def remote_identity(connection: Connection, address: IPAddress) -> Identity | None:
    """Who the peer must be: as configured, or its address; None if it may be anyone who can prove it."""
    end = connection.remote
    if end.identity is None and (end.from_certificate or end.address is None):
        return None
    return end.identity or Identity.of_address(address)


def accepts(connection: Connection, presented: Identity, address: IPAddress) -> bool:
    """Whether a peer's identity is one for the connection."""
    if presented.type is IdType.NULL and connection.remote.auth.null:
        return True
    wanted = remote_identity(connection, address)
    return wanted is None or matches(wanted, presented)


def allows(auth: Authby, method: AuthMethod | None) -> bool:
    """Whether an end may authenticate in a way; None is EAP."""
    match method:
        case None:
            return bool(auth.eap)
        case AuthMethod.SHARED_KEY:
            return auth.secret
        case AuthMethod.NULL:
            return auth.null
        case _:
            return auth.signatures is not None and method in SIGNATURES


@dataclass(frozen=True, slots=True)
class Proofs:
    """The two sides of a connection at one address of the peer."""

    connection: Connection
    credentials: Credentials
    standing: Standing
    local: IPAddress
    remote: IPAddress

    @property
    def me(self) -> Identity:
        """Who we are."""
        return local_identity(self.connection, self.local)

    @property
    def insists_on_ppk(self) -> bool:
        """Whether both must have a postquantum preshared key (`ppk=insist`)."""
        return self.connection.ppk is Choice.YES

    @property
    def wanted(self) -> Identity | None:
        """Who the peer must be, None if that is for it to prove."""
        return remote_identity(self.connection, self.remote)

    @property
    def named(self) -> Identity | None:
        """Whom we ask for: the one that the peer must be, unless several would do."""
        return None if self.wanted is None or is_pattern(self.wanted) else self.wanted

    def check_means(self) -> None:
        """Raises LocalError if there is no way for us to prove who we are."""
        methods = self.connection.local.auth.eap
        if EapType.MSCHAPV2 in methods:
            self.password()
        if EapType.TLS in methods:
            self.papers()
        if not methods:
            self.prover(None)

    def password(self) -> str:
        """Our password for EAP; raises LocalError if there is none."""
        user = self.connection.local.user or ""
        password = self.credentials.password_of(user.encode())
        if password is None:
            line = f"'{user} : EAP \"...\"'"
            raise LocalError(f"no password of {user or 'ours for EAP'}: add {line} to the secrets")
        return password

    def prover(self, peer: Identity | None) -> Prover:
        """Our way to prove who we are, a signature before anything else; raises LocalError if we have none."""
        end = self.connection.local
        own = end.public_key or (public_key(end.certificates[0]) if end.certificates else None)
        if end.auth.signatures is not None and own is not None:
            return Signer(self._private_key(own), end.auth.signatures)
        if end.auth.secret:
            return self._shared_key(peer or self.wanted or Identity.of_address(self.remote))
        if end.auth.null:
            return Nobody()
        if end.auth.eap:
            raise LocalError(f"{self.me} proves itself with EAP alone, and the peer does not ask for that (RFC 5998)")
        raise LocalError(f"{self.connection.name} names no certificate or key of {self.me}")

    def certificates(self, requests: Iterable[CertRequest]) -> Payloads:
        """Our certificate, and those between it and its authority, with these requests of the peer."""
        end = self.connection.local
        if not end.certificates or end.auth.signatures is None or end.send_certificate is SendCert.NEVER:
            return ()
        store = self._own_store()
        wanted = [each.data for each in requests if each.encoding is CertEncoding.X509_SIGNATURE]
        asked = any(store.answers(end.certificates[0], each) for each in wanted)
        if end.send_certificate is SendCert.IF_ASKED and not asked:
            return ()
        chain = store.chain(end.certificates[0])
        return tuple(CertPayload(CertEncoding.X509_SIGNATURE, each.public_bytes(Encoding.DER)) for each in chain)

    def papers(self) -> tuple[tuple[Certificate, ...], PrivateKey]:
        """Our certificate, those between it and its authority, and its private key; raises LocalError without."""
        if not (own := self.connection.local.certificates):
            raise LocalError(f"{self.connection.name} names no certificate of {self.me}, which EAP-TLS needs")
        return tuple(self._own_store().chain(own[0])), self._private_key(public_key(own[0]))

    def _own_store(self) -> Store:
        known = self.credentials.store
        return Store(known.anchors, (*self.connection.local.certificates[1:], *known.intermediates))

    def _private_key(self, own: PublicKey) -> PrivateKey:
        key = self.credentials.key_for(own)
        if key is None:
            raise LocalError(f"no private key for {self.me}: add it to the secrets")
        return key

    def requests(self) -> tuple[CertRequest, ...]:
        """What to ask the peer for: a certificate of an authority that we trust, unless we know its key."""
        end = self.connection.remote
        if end.auth.signatures is None or end.public_key is not None or end.certificates:
            return ()
        authorities = self._store().request()
        return (CertRequest(CertEncoding.X509_SIGNATURE, authorities),) if authorities else ()

    def checker(self, method: AuthMethod, peer: Identity, message: Message, now: datetime) -> Checker:
        """What checks the peer's proof; `message` is that with its certificates.

        Raises AuthenticationFailed if it may not be that peer, not in that way, or not with these certificates.
        """
        auth = self.connection.remote.auth
        if not allows(auth, method):
            raise AuthenticationFailed(f"the peer authenticates with {method.name}, not {auth}")
        if method is AuthMethod.NULL:
            return Nobody()
        if self.wanted is not None and not matches(self.wanted, peer):
            raise AuthenticationFailed(f"the peer is {peer}, not {self.wanted}")
        if method is AuthMethod.SHARED_KEY or auth.signatures is None:
            return self._checking_key(peer)
        known = self._known(message)
        return Verifier(self._key_of(known, peer, now), auth.signatures, lambda: self._settle(known, message, now))

    def _checking_key(self, peer: Identity) -> SharedKey:
        try:
            return self._shared_key(peer)
        except LocalError as error:
            raise AuthenticationFailed(str(error)) from error

    def _shared_key(self, peer: Identity) -> SharedKey:
        secret = find_secret(self.credentials.secrets, self.me, peer)
        if secret is None:
            line = f'"{self.me} {peer} : PSK ..."'
            raise LocalError(f"no preshared key for {self.me} and {peer}: add {line} to the secrets")
        return SharedKey(secret.key)

    def _store(self) -> Store:
        """Whom we trust to say who the peer is: itself, if its certificate is known."""
        end, known = self.connection.remote, self.credentials.store
        return Store(end.certificates[:1] or end.anchors or known.anchors, known.intermediates)

    def _known(self, message: Message) -> tuple[Certificate, ...]:
        """The peer's certificate, and what else it sent; nothing if its key needs none."""
        end = self.connection.remote
        if end.public_key is not None:
            return ()
        sent = tuple(load_certificate(data) for data in _sent(message, CertEncoding.X509_SIGNATURE))
        if not (known := sent or end.certificates[:1]):
            raise AuthenticationFailed("the peer sent no certificate")
        return known

    def _key_of(self, known: tuple[Certificate, ...], peer: Identity, now: datetime) -> PublicKey:
        if self.connection.remote.public_key is not None:
            return self.connection.remote.public_key
        self.check_shown(known, peer, now)
        return public_key(known[0])

    def _settle(self, known: tuple[Certificate, ...], message: Message, now: datetime) -> None:
        if known:
            lists = tuple(load_crl(data) for data in _sent(message, CertEncoding.CRL))
            responses = tuple(load_response(data) for data in _sent(message, CertEncoding.OCSP_CONTENT))
            self.settle_shown(known, Evidence(lists, responses), now)

    def check_shown(self, shown: tuple[Certificate, ...], peer: Identity, now: datetime) -> None:
        """Raises AuthenticationFailed unless the first of these certificates is one for the peer that must be there."""
        validate(self._store(), shown[0], shown[1:_MOST_CERTIFICATES], now)
        check_identity(shown[0], peer, self.wanted)

    def settle_shown(self, shown: tuple[Certificate, ...], sent: Evidence, now: datetime) -> None:
        """See that no certificate was revoked, now that the peer has proved that it has the key; raises as Standing."""
        path = validate(self._store(), shown[0], shown[1:_MOST_CERTIFICATES], now)
        self.standing.check(path, sent, now)


def _sent(message: Message, encoding: CertEncoding) -> list[bytes]:
    """What the peer sent in CERT payloads of an encoding, as much of it as is reasonable."""
    return [each.data for each in message.all(CertPayload) if each.encoding is encoding][:_MOST_CERTIFICATES]
