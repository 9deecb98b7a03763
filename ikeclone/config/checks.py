"""Whether each connection has the keys and certificates that it needs, whichever end is this host."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ikeclone.config.connections import Config, Conn
from ikeclone.config.problems import ConfigErrors
from ikeclone.config.secrets import load_secrets
from ikeclone.connection import Choice, End, Identity, find_secret
from ikeclone.credentials import Credentials
from ikeclone.errors import ConfigError
from ikeclone.numbers import EapType, IdType
from ikeclone.pki.certificate import Certificate, public_key, subject
from ikeclone.pki.store import Store

_log = logging.getLogger(__name__)


def load_credentials(config: Config, secrets: Path, now: datetime) -> Credentials:
    """What the configuration and ipsec.secrets say that the host has.

    Raises ConfigErrors with the mistakes in ipsec.secrets, or with the conns that lack something. Warns in the log of
    certificates that are not valid at the time `now`.
    """
    keyring = load_secrets(secrets)
    store = Store(config.authorities)
    credentials = Credentials(
        keyring.secrets,
        keyring.keys,
        store,
        config.revocation,
        keyring.ppks,
        keyring.passwords,
    )
    lacking = [error for conn in config.connections if (error := _lacking(conn, credentials))]
    if lacking:
        raise ConfigErrors(lacking)
    for what, certificate in _certificates(config):
        _warn_if_invalid(what, certificate, now)
    return credentials


def _lacking(conn: Conn, credentials: Credentials) -> ConfigError | None:
    """What is missing for this host to be one end or the other; of these, the end that has a certificate."""
    left, right = conn.ends
    as_left = _End(conn, "left", left, right, credentials).lacks()
    as_right = _End(conn, "right", right, left, credentials).lacks()
    if as_left is None or as_right is None:
        return None
    return as_right if right.certificates and not left.certificates else as_left


@dataclass(frozen=True, slots=True)
class _End:
    """This host as one end of a conn, with the other end as its peer."""

    conn: Conn
    side: str
    us: End
    peer: End
    credentials: Credentials

    def lacks(self) -> ConfigError | None:
        """What is missing, if anything is."""
        return self._to_prove() or self._to_check() or self._ppk()

    def _to_prove(self) -> ConfigError | None:
        """What is missing to prove who we are."""
        auth, certificates = self.us.auth, self.us.certificates
        if EapType.MSCHAPV2 in auth.eap and (lacking := self._no_password()) is not None:
            return lacking
        own = self.us.public_key or (public_key(certificates[0]) if certificates else None)
        if (auth.signatures or EapType.TLS in auth.eap) and own is not None:
            return None if self.credentials.key_for(own) else self._no_key()
        if auth.secret:
            return self._no_secret()
        how = "give the file of a certificate, or authby=secret for a preshared key"
        needless = auth.null or auth.eap == (EapType.MSCHAPV2,)
        return None if needless else self._mistake(f"{self.side}cert= is missing: {how}")

    def _to_check(self) -> ConfigError | None:
        """What is missing to check who the peer is."""
        peer = self.peer
        known = peer.public_key or peer.certificates or peer.anchors or self.credentials.store.anchors
        if EapType.MSCHAPV2 in peer.auth.eap and not self.credentials.passwords:
            lines = "'USER : EAP \"...\"'"
            return self._mistake(f"no user has a password: put lines {lines} into ipsec.secrets")
        shows = peer.auth.signatures or EapType.TLS in peer.auth.eap
        if peer.auth.null or (shows and known) or peer.auth.eap == (EapType.MSCHAPV2,):
            return None
        if peer.auth.secret:
            return self._no_secret()
        side = "right" if self.side == "left" else "left"
        how = f"put its certificate into the directory of cacerts=, or name its file with {side}ca="
        return self._mistake(f"no authority is trusted to say who {side} is: {how}")

    def _ppk(self) -> ConfigError | None:
        """Whether there is a postquantum preshared key, where there must be one."""
        said = self.conn.keywords
        names = {ppk.name for ppk in self.credentials.ppks}
        if said.ppk is not Choice.YES or (names & set(said.ppk_ids) if said.ppk_ids else names):
            return None
        how = 'put a line \': PPKS "name" "key"\' into ipsec.secrets'
        return self._mistake(f"ppk=insist, but there is no postquantum preshared key: {how}")

    def _no_key(self) -> ConfigError:
        place = self.conn.papers(self.side).place or self.conn.place
        text = f"no private key is for this certificate or key of {self.side}"
        return place.error(f"conn {self.conn.name}: {text}: put a line ': PKCS8 FILE' into ipsec.secrets")

    def _no_secret(self) -> ConfigError | None:
        """Whether there is a secret; an end that is anyone takes the other's."""
        identities = [end.identity for end in (self.us, self.peer) if end.identity] or [Identity(IdType.NULL, b"")]
        if find_secret(self.credentials.secrets, identities[0], identities[-1]):
            return None
        names = " ".join(str(end.identity or "%any") for end in self.conn.ends)
        return self._mistake(f"there is no preshared key: put a line '{names} : PSK \"...\"' into ipsec.secrets")

    def _no_password(self) -> ConfigError | None:
        user = self.us.user
        if user is None:
            return self._mistake(f"{self.side}username= is missing: EAP needs the name of the user")
        if self.credentials.password_of(user.encode()) is None:
            return self._mistake(f"there is no password: put a line '{user} : EAP \"...\"' into ipsec.secrets")
        return None

    def _mistake(self, text: str) -> ConfigError:
        return self.conn.place.error(f"conn {self.conn.name}: {text}")


def _certificates(config: Config) -> Iterator[tuple[str, Certificate]]:
    for conn in config.connections:
        for papers in (conn.left, conn.right):
            yield from ((str(papers.place), each) for each in papers.certificates)
    yield from (("cacerts", each) for each in config.authorities)


def _warn_if_invalid(what: str, certificate: Certificate, now: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= now <= end:
        name = subject(certificate)
        _log.warning("%s: the certificate of %s is valid from %s to %s only", what, name, begin.date(), end.date())
