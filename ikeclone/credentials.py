"""What a host proves itself with and whom it believes, free of files."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509

from ikeclone.connection import Ppk, Secret
from ikeclone.crypto.signature import PrivateKey, PublicKey
from ikeclone.pki.store import Store


@dataclass(frozen=True, slots=True)
class Credentials:
    """Preshared keys and private keys, never printed; authorities, and lists of what they revoked.

    With `strict` a peer's certificate of which no list speaks is refused.
    """

    secrets: tuple[Secret, ...] = ()
    keys: tuple[PrivateKey, ...] = field(default=(), repr=False)
    store: Store = field(default_factory=Store)
    lists: tuple[x509.CertificateRevocationList, ...] = ()
    strict: bool = False
    ppks: tuple[Ppk, ...] = ()

    def key_for(self, public: PublicKey) -> PrivateKey | None:
        """Our private key to a public one, None if we have none."""
        return next((key for key in self.keys if key.public_key() == public), None)
