"""EAP-TLS (RFC 5216, with TLS 1.3 RFC 9190): both sides show certificates, and TLS makes the key."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from cryptography import x509
from OpenSSL import SSL

from ikeclone.crypto.signature import PrivateKey
from ikeclone.eap.method import PeerMethod, ServerMethod
from ikeclone.eap.tls_fragments import START, Fragments
from ikeclone.errors import AuthenticationFailed, InvalidSyntax
from ikeclone.numbers import EapType

Chain = tuple[x509.Certificate, ...]

_MSK_SIZE, _KEYS_SIZE = 64, 128
_TLS_1_3 = 0x0304
# What the server says in TLS 1.3 when it is content with the peer (RFC 9190 section 2.1.1).
_COMMITMENT = b"\0"


@dataclass(frozen=True, slots=True)
class Papers:
    """What we show, our own certificate first, and the check of what the other side shows.

    `check` raises AuthenticationFailed unless they are those of who should be there.
    """

    chain: Chain
    key: PrivateKey = field(repr=False)
    check: Callable[[Chain], None] = field(repr=False)


class _Alert(Exception):
    """TLS has failed."""


class _Tls:
    """One end of a TLS connection, without input or output. It believes any certificates: `Papers.check` does not."""

    def __init__(self, papers: Papers, *, server: bool) -> None:
        self._papers = papers
        self._connection = SSL.Connection(_context(papers))
        if server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()
        self.done = False

    def feed(self, octets: bytes) -> None:
        """Take what the other side sends; raises _Alert, or AuthenticationFailed for wrong certificates."""
        if octets:
            self._connection.bio_write(octets)
        if self.done:
            return
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise _Alert(_reason(error)) from None
        self._papers.check(self._shown())
        self.done = True

    def output(self) -> bytes:
        """What to send."""
        octets = b""
        with suppress(SSL.WantReadError):
            while True:
                octets += self._connection.bio_read(1 << 14)
        return octets

    @property
    def commits(self) -> bool:
        """Whether this version of TLS has the server say that it is content."""
        return self._connection.get_protocol_version() >= _TLS_1_3

    def commit(self) -> None:
        """Say so."""
        self._connection.send(_COMMITMENT)

    def committed(self) -> bool:
        """Whether the server has said so; raises _Alert when it says anything else."""
        try:
            return self._connection.recv(len(_COMMITMENT)) == _COMMITMENT
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise _Alert(_reason(error)) from None

    def msk(self) -> bytes:
        """The first half of the key material (RFC 5216 section 2.3, RFC 9190 section 2.3)."""
        if self.commits:
            label, context = b"EXPORTER_EAP_TLS_Key_Material", bytes([EapType.TLS])
        else:
            label, context = b"client EAP encryption", None
        return self._connection.export_keying_material(label, _KEYS_SIZE, context)[:_MSK_SIZE]

    def _shown(self) -> Chain:
        own = self._connection.get_peer_certificate(as_cryptography=True)
        if own is None:
            raise AuthenticationFailed("the other side of EAP-TLS shows no certificate")
        others = self._connection.get_peer_cert_chain(as_cryptography=True) or []
        return own, *(each for each in others if each != own)


def _context(papers: Papers) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    # There are no sessions to resume: each user proves anew who it is. Servers of strongSwan's do not speak of safe
    # renegotiation (RFC 5746) in TLS 1.2: there is none of any kind.
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_LEGACY_SERVER_CONNECT)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    own, *others = papers.chain
    context.use_certificate(own)
    for certificate in others:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(papers.key)
    return context


def _reason(error: SSL.Error) -> str:
    told = error.args[0] if error.args else ()
    return f"EAP-TLS has failed: {', '.join(each[2] for each in told) or 'the other side has ended it'}"


class TlsPeer(PeerMethod):
    """We show a certificate to the server and check the server's."""

    type = EapType.TLS

    def __init__(self, papers: Papers) -> None:
        self._papers, self._fragments = papers, Fragments()
        self._tls: _Tls | None = None

    def respond(self, data: bytes) -> bytes:
        flight = self._fragments.receive(data)
        if flight is not None and not self._fragments.waiting:
            self._proceed(flight)
        elif flight:
            raise InvalidSyntax("EAP-TLS data before all of ours was taken")
        return self._fragments.take()

    def _proceed(self, flight: bytes) -> None:
        if self._tls is None:
            self._tls = _Tls(self._papers, server=False)
        try:
            self._tls.feed(flight)
            if self._tls.done and (not self._tls.commits or self._tls.committed()):
                self.msk = self._tls.msk()
        except _Alert as alert:
            self.refused = str(alert)
        self._fragments.put(self._tls.output())


class TlsServer(ServerMethod):
    """We show a certificate to the peer and check the peer's; what name it has is for `Papers.check` to know."""

    type = EapType.TLS

    def __init__(self, papers: Papers) -> None:
        self._tls, self._fragments = _Tls(papers, server=True), Fragments()
        self._refused: str | None = None

    def start(self, identifier: int) -> bytes:
        return START

    def proceed(self, data: bytes) -> bytes | None:
        flight = self._fragments.receive(data)
        if flight is None:
            return self._fragments.take()
        if not self._fragments.waiting:
            self._proceed(flight)
        elif flight:
            raise InvalidSyntax("EAP-TLS data before all of ours was taken")
        if self._fragments.waiting:
            return self._fragments.take()
        if self._refused is not None:
            raise AuthenticationFailed(self._refused)
        if self.msk is None:
            raise InvalidSyntax("an EAP-TLS response without data out of turn")
        return None

    def _proceed(self, flight: bytes) -> None:
        """After an alert or the end of TLS, the peer only acknowledges."""
        if self._refused is not None or self.msk is not None:
            return
        try:
            self._tls.feed(flight)
            if self._tls.done:
                self.msk = self._tls.msk()
                if self._tls.commits:
                    self._tls.commit()
        except _Alert as alert:
            self._refused = str(alert)
        self._fragments.put(self._tls.output())
