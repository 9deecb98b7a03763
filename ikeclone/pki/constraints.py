"""Name constraints: the names that an authority may certify (RFC 5280 section 4.2.1.10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from cryptography import x509

from ikeclone.errors import AuthenticationFailed
from ikeclone.pki.certificate import Certificate, extension, subject
from ikeclone.pki.dn import Name


def check_names(authority: Certificate, below: tuple[Certificate, ...]) -> None:
    """Check that an authority was allowed to certify those below it, the end entity first.

    Raises AuthenticationFailed if a name is out of bounds, or of a kind that is bounded and not understood.
    """
    constraints = extension(authority, x509.NameConstraints)
    if constraints is None:
        return
    for certificate in below:
        # A certificate that an authority issued to itself is exempt, unless it is the end entity's.
        if certificate is below[0] or certificate.subject != certificate.issuer:
            for kind, name in _names(certificate):
                if not _allowed(kind, name, constraints):
                    raise AuthenticationFailed(f"{subject(authority)} must not certify {subject(certificate)}: {name}")


def _names(certificate: Certificate) -> Iterator[tuple[type[x509.GeneralName], Any]]:
    """The subject, where it is not empty, and the alternative names, or mail addresses within the subject."""
    if certificate.subject.rdns:
        yield x509.DirectoryName, certificate.subject
    alternatives = extension(certificate, x509.SubjectAlternativeName)
    if alternatives:
        yield from ((type(name), name.value) for name in alternatives)
    else:
        mails = certificate.subject.get_attributes_for_oid(x509.NameOID.EMAIL_ADDRESS)
        yield from ((x509.RFC822Name, mail.value) for mail in mails)


def _allowed(kind: type[x509.GeneralName], name: Any, constraints: x509.NameConstraints) -> bool:
    def of_its_kind(subtrees: list[x509.GeneralName] | None) -> list[Any]:
        return [subtree.value for subtree in subtrees or () if type(subtree) is kind]

    permitted, excluded = of_its_kind(constraints.permitted_subtrees), of_its_kind(constraints.excluded_subtrees)
    within = _WITHIN.get(kind)
    if within is None:
        return not (permitted or excluded)
    return (not permitted or any(within(name, base) for base in permitted)) and not any(
        within(name, base) for base in excluded
    )


def _host_within(host: str, base: str) -> bool:
    host, base = host.lower(), base.lower()
    return not base or host == base or host.endswith("." + base.removeprefix("."))


def _mail_within(mail: str, base: str) -> bool:
    """The base is a mailbox, a host, or a domain if it starts with a dot."""
    host = mail.rpartition("@")[2].lower()
    if "@" in base:
        return mail.lower() == base.lower()
    return host.endswith(base.lower()) if base.startswith(".") else host == base.lower()


def _address_within(address: IPv4Address | IPv6Address, base: IPv4Network | IPv6Network) -> bool:
    return address in base


def _name_within(name: x509.Name, base: x509.Name) -> bool:
    return Name.from_der(name.public_bytes()).begins_with(Name.from_der(base.public_bytes()))


_WITHIN: dict[type[x509.GeneralName], Callable[..., bool]] = {
    x509.DNSName: _host_within,
    x509.RFC822Name: _mail_within,
    x509.IPAddress: _address_within,
    x509.DirectoryName: _name_within,
}
