"""The authorities that a host trusts and the certificates between them and its peers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ikeclone.errors import InvalidSyntax
from ikeclone.pki.certificate import Certificate, key_hash

_HASH_SIZE = 20
_LONGEST_CHAIN = 8


@dataclass(frozen=True, slots=True)
class Store:
    """Trust anchors, and intermediate certificates that are known but not trusted by themselves."""

    anchors: tuple[Certificate, ...] = ()
    intermediates: tuple[Certificate, ...] = ()

    def request(self) -> bytes:
        """The authorities for a CERTREQ payload of encoding X509_SIGNATURE (RFC 7296 section 3.7)."""
        return b"".join(dict.fromkeys(map(key_hash, self.anchors)))

    def chain(self, certificate: Certificate) -> tuple[Certificate, ...]:
        """What to send of one of our certificates: itself and the intermediates up to its anchor, that left out."""
        return tuple(self._upwards(certificate))

    def answers(self, certificate: Certificate, request: bytes) -> bool:
        """Whether one of our certificates comes from an authority that a peer's CERTREQ names.

        An empty request is content with any. Raises InvalidSyntax if it is not a row of hashes.
        """
        if len(request) % _HASH_SIZE:
            raise InvalidSyntax(f"a request for certificates of {len(request)} octets")
        wanted = {request[start : start + _HASH_SIZE] for start in range(0, len(request), _HASH_SIZE)}
        authorities = {key_hash(issuer) for below in self.chain(certificate) for issuer in self._issuers(below)}
        return not wanted or bool(wanted & authorities)

    def _upwards(self, certificate: Certificate) -> Iterator[Certificate]:
        for _ in range(_LONGEST_CHAIN):
            yield certificate
            issuers = self._issuers(certificate)
            if not issuers or any(issuer in self.anchors for issuer in issuers):
                return
            certificate = issuers[0]

    def _issuers(self, certificate: Certificate) -> list[Certificate]:
        return [
            issuer
            for issuer in (*self.anchors, *self.intermediates)
            if issuer.subject == certificate.issuer and issuer != certificate
        ]
