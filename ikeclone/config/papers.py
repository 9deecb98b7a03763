"""What the files that an end of a conn names hold: its certificates, and whose it must show."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ikeclone.config.certificates import read_certificates
from ikeclone.config.lexer import Entry
from ikeclone.config.models import EndKeywords
from ikeclone.config.problems import Place
from ikeclone.config.sections import Merged
from ikeclone.connection import Authby, End, Identity
from ikeclone.errors import ConfigError
from ikeclone.pki.certificate import Certificate, subject
from ikeclone.pki.dn import Name, is_name
from ikeclone.pki.identity import identity_of

_ANY = "%any"


@dataclass(frozen=True, slots=True)
class Papers:
    """The certificate of an end and those above it; `anchors` are the authorities that it must come from.

    `place` is the line that names the certificate.
    """

    certificates: tuple[Certificate, ...] = ()
    anchors: tuple[Certificate, ...] = ()
    place: Place | None = field(default=None, compare=False)

    def end(self, keywords: EndKeywords, auth: Authby) -> End:
        """The end as the state machine takes it, authenticating in these ways; one that does not needs no name."""
        wanted = keywords.id
        from_certificate = isinstance(wanted, str) or (wanted is None and bool(self.certificates))
        identity = wanted if isinstance(wanted, Identity) else None
        if from_certificate and self.certificates:
            identity = identity_of(self.certificates[0])
        elif wanted is None and keywords.address is not None and auth != Authby(null=True):
            identity = Identity.of_address(keywords.address)
        return End(
            keywords.address,
            identity,
            keywords.selectors(),
            keywords.source,
            auth,
            from_certificate=from_certificate and not self.certificates,
            certificates=self.certificates,
            anchors=self.anchors,
            public_key=keywords.key,
            send_certificate=keywords.sendcert,
            user=keywords.username,
            interface_addresses=keywords.interface_ip,
            asks=keywords.asks,
            pools=keywords.addresspool,
            updown=keywords.updown,
        )


def read_papers(section: Merged, side: str, authorities: tuple[Certificate, ...]) -> Papers:
    """What leftcert= and leftca= of a section name, or those of the other side; raises ConfigError."""
    cert, authority = (section.keywords.get(side + name) for name in ("cert", "ca"))
    certificates = _certificates(cert) if cert and cert.value else ()
    anchors = _anchors(authority, authorities) if authority and authority.value else ()
    return Papers(certificates, anchors, cert.place if cert else None)


def beside(place: Place, name: str) -> Path:
    """A file whose name is relative to the file that names it."""
    return place.file.parent / name


def mistake(entry: Entry, reason: str) -> ConfigError:
    """The error to raise for what an entry's value names."""
    return entry.place.error(f"{entry.section}: {entry.key}={entry.value}: {reason}")


def _certificates(entry: Entry) -> tuple[Certificate, ...]:
    """The end's own and the intermediate ones; a root is not sent to peers."""
    try:
        first, *others = read_certificates(beside(entry.place, entry.value))
    except ValueError as error:
        raise mistake(entry, str(error)) from None
    return first, *(each for each in others if each.subject != each.issuer)


def _anchors(entry: Entry, authorities: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
    """The authorities of a name, a pattern or a file; empty for any that is trusted."""
    if entry.value.lower() == _ANY:
        return ()
    try:
        if not is_name(entry.value):
            return read_certificates(beside(entry.place, entry.value))
        name = Name.parse(entry.value)
    except ValueError as error:
        raise mistake(entry, str(error)) from None
    found = tuple(each for each in authorities if name.covers(subject(each)))
    if not found:
        raise mistake(entry, "there is no such authority among the trusted ones")
    return found
