"""Whether a peer is who it must be: identities as ipsec.conf writes them, and those that a certificate vouches for."""

from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509

from ikeclone.connection import Identity
from ikeclone.errors import AuthenticationFailed
from ikeclone.numbers import IdType
from ikeclone.pki.certificate import Certificate, extension, subject
from ikeclone.pki.dn import Name


def identity_of(certificate: Certificate) -> Identity:
    """The identity that `%fromcert` stands for: the subject's name as the certificate encodes it."""
    return Identity(IdType.DER_ASN1_DN, certificate.subject.public_bytes())


def matches(wanted: Identity, presented: Identity) -> bool:
    """Whether a peer's identity is the configured one.

    Host names and mail addresses are compared without case, distinguished names by RFC 5280 section 7.1, where the
    configured one may have * for values; anything else octet by octet.
    """
    if wanted.type != presented.type:
        return False
    match wanted.type:
        case IdType.FQDN | IdType.RFC822_ADDR:
            return wanted.data.lower() == presented.data.lower()
        case IdType.DER_ASN1_DN:
            ours, theirs = _name(wanted.data), _name(presented.data)
            return ours is not None and theirs is not None and ours.covers(theirs)
        case _:
            return wanted.data == presented.data


def is_pattern(identity: Identity) -> bool:
    """Whether a configured identity stands for several: a distinguished name in which a value is *."""
    name = _name(identity.data) if identity.type is IdType.DER_ASN1_DN else None
    return name is not None and name.is_pattern


def vouches(certificate: Certificate, identity: Identity) -> bool:
    """Whether the certificate is one for the identity (RFC 4945 section 3.1).

    A distinguished name must be the subject; host name, mail and IP address an alternative name; a key id the
    certificate's subject key identifier. What looks like a wildcard in either is none.
    """
    names = extension(certificate, x509.SubjectAlternativeName)
    match identity.type:
        case IdType.DER_ASN1_DN:
            name = _name(identity.data)
            return name is not None and subject(certificate).same(name)
        case IdType.KEY_ID:
            key = extension(certificate, x509.SubjectKeyIdentifier)
            return key is not None and key.digest == identity.data
        case IdType.FQDN if names:
            return _text(identity) in map(str.lower, names.get_values_for_type(x509.DNSName))
        case IdType.RFC822_ADDR if names:
            return _text(identity) in map(str.lower, names.get_values_for_type(x509.RFC822Name))
        case IdType.IPV4_ADDR | IdType.IPV6_ADDR if names and len(identity.data) in (4, 16):
            return ip_address(identity.data) in names.get_values_for_type(x509.IPAddress)
        case _:
            return False


def check_identity(certificate: Certificate, presented: Identity, wanted: Identity | None) -> None:
    """Check the identity that a peer presents along with its certificate; `wanted` None is `%fromcert`.

    Raises AuthenticationFailed if it is not the wanted one or the certificate is not for it.
    """
    if wanted is not None and not matches(wanted, presented):
        raise AuthenticationFailed(f"the peer is {presented}, not {wanted}")
    if not vouches(certificate, presented):
        raise AuthenticationFailed(f"the certificate of {subject(certificate)} is not one for {presented}")


def _name(data: bytes) -> Name | None:
    """A name as a peer sent it, None if it is none."""
    try:
        return Name.from_der(data)
    except ValueError:
        return None


def _text(identity: Identity) -> str:
    return identity.data.decode("ascii", errors="replace").lower()
