"""What a host proves itself with and whom it believes, free of files."""

from __future__ import annotations

from dataclasses import dataclass, field

from ikeclone.connection import Password, Ppk, Secret
from ikeclone.crypto.signature import PrivateKey, PublicKey
from ikeclone.pki.standing import Policy
from ikeclone.pki.store import Store


@dataclass(frozen=True, slots=True)
class Credentials:
    """Preshared keys, private keys and passwords, never printed; authorities, and how to tell what they revoked."""

    secrets: tuple[Secret, ...] = ()
    keys: tuple[PrivateKey, ...] = field(default=(), repr=False)
    store: Store = field(default_factory=Store)
    revocation: Policy = field(default_factory=Policy)
    ppks: tuple[Ppk, ...] = ()
    passwords: tuple[Password, ...] = ()

    def key_for(self, public: PublicKey) -> PrivateKey | None:
        """Our private key to a public one, None if we have none."""
        return next((key for key in self.keys if key.public_key() == public), None)

    def password_of(self, user: bytes) -> str | None:
        """The password of a user, with or without the name of a Windows domain before it; None if we have none."""
        names = user, user.rpartition(b"\\")[2]
        return next((each.text for name in names for each in self.passwords if each.user.encode() == name), None)
