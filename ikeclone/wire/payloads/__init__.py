"""The payloads of IKEv2, one frozen dataclass each; `parse` and `build` are about the body, after the header.

Every `parse` raises InvalidSyntax, and nothing else, on a body that is out of shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from ikeclone.numbers import PayloadType
from ikeclone.wire.payloads.configuration import CfgAttribute, Configuration
from ikeclone.wire.payloads.encrypted import Encrypted, EncryptedFragment
from ikeclone.wire.payloads.exchange import KeyExchange, Nonce, VendorId
from ikeclone.wire.payloads.identity import Auth, Certificate, CertRequest, Eap, IdI, IdR
from ikeclone.wire.payloads.notify import Delete, Notify
from ikeclone.wire.payloads.sa import Attribute, Proposal, Sa, Transform
from ikeclone.wire.payloads.selectors import TsI, TsR

__all__ = [
    "PARSERS", "Attribute", "Auth", "CertRequest", "Certificate", "CfgAttribute", "Configuration", "Delete",
    "Eap", "Encrypted", "EncryptedFragment", "IdI", "IdR", "KeyExchange", "Nonce", "Notify", "Payload",
    "Proposal", "Sa", "Transform", "TsI", "TsR", "Unknown", "VendorId",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unknown:
    """A payload of a type that has no meaning here."""

    type: PayloadType
    critical: bool
    data: bytes

    def build(self) -> bytes:
        return self.data


_Known = (
    Sa | KeyExchange | IdI | IdR | Certificate | CertRequest | Auth | Nonce | Notify | Delete | VendorId
    | TsI | TsR | Configuration | Eap
)  # fmt: skip
Payload = _Known | Unknown | Encrypted | EncryptedFragment

_CLASSES: tuple[type[_Known], ...] = (
    Sa, KeyExchange, IdI, IdR, Certificate, CertRequest, Auth, Nonce, Notify, Delete, VendorId, TsI, TsR,
    Configuration, Eap,
)  # fmt: skip
PARSERS = {kind.TYPE: kind.parse for kind in _CLASSES}
