"""ipsec.secrets: preshared keys and whom they are for, passwords, files of private keys (ipsec.secrets(5)).

No message quotes from these files anything but file names: what looks like an identity may be a key.
"""

from __future__ import annotations

import logging
import re
import stat
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from ikeclone.config import values
from ikeclone.config.certificates import read_bytes
from ikeclone.config.files import Source
from ikeclone.config.problems import Place, Problems
from ikeclone.connection import Identity, Password, Ppk, Secret
from ikeclone.crypto.signature import PrivateKey
from ikeclone.errors import ConfigError
from ikeclone.pki.raw import load_private_key

_TOKEN = re.compile(r"""\s*(?:(?P<quote>["'])(?P<quoted>.*?)(?P=quote)|(?P<comment>\#.*)|(?P<bare>[^\s"'\#]\S*))""")
_KINDS: dict[str, UnionType | type[PrivateKey]] = {
    "RSA": RSAPrivateKey,
    "ECDSA": EllipticCurvePrivateKey,
    "EDDSA": Ed25519PrivateKey | Ed448PrivateKey,
    "PKCS8": PrivateKey,
}
_ANYONE = ("%any", "%any6")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class _Token:
    text: str
    quoted: bool


@dataclass(frozen=True, slots=True, repr=False)
class _Entry:
    place: Place
    tokens: list[_Token]

    def words(self) -> list[str]:
        """The tokens as text, up to and without the colon."""
        words = [token.text for token in self.tokens]
        return words[: self.colon()]

    def colon(self) -> int:
        """The place of the colon among the tokens. Raises ConfigError when there is none."""
        for number, token in enumerate(self.tokens):
            if token == _Token(":", quoted=False):
                return number
        raise self.place.error("there is no ':' between blanks: write IDENTITIES : PSK \"key\"")


@dataclass(frozen=True, slots=True, repr=False)
class Keyring:
    """What ipsec.secrets holds: preshared keys, postquantum ones too, private keys and the passwords of users."""

    secrets: tuple[Secret, ...] = ()
    keys: tuple[PrivateKey, ...] = ()
    ppks: tuple[Ppk, ...] = ()
    passwords: tuple[Password, ...] = ()


class _Found:
    """What was read so far."""

    def __init__(self) -> None:
        self.secrets: dict[frozenset[Identity], tuple[Place, Secret]] = {}
        self.keys: list[PrivateKey] = []
        self.ppks: dict[bytes, tuple[Place, Ppk]] = {}
        self.passwords: dict[str, tuple[Place, Password]] = {}


def load_secrets(path: Path) -> Keyring:
    """Read a file of keys and those it includes.

    Raises ConfigErrors with every mistake in them. Warns in the log of a file that others may read.
    """
    problems = Problems()
    found = _Found()
    with problems.gather():
        _read(Source(path), found, problems)
    problems.check()
    secrets = tuple(secret for _, secret in found.secrets.values())
    ppks = tuple(ppk for _, ppk in found.ppks.values())
    return Keyring(secrets, tuple(found.keys), ppks, tuple(password for _, password in found.passwords.values()))


def _read(source: Source, found: _Found, problems: Problems) -> None:
    for entry in _entries(source, problems):
        with problems.gather():
            match [token.text for token in entry.tokens]:
                case ["include", pattern]:
                    for included in source.include(pattern, entry.place):
                        _read(included, found, problems)
                case _:
                    _keep(entry, found)
    _warn_if_exposed(source.path)


def _keep(entry: _Entry, found: _Found) -> None:
    kind, *values = entry.tokens[entry.colon() + 1 :] or [_Token("", quoted=False)]
    match kind.text.upper():
        case "PSK":
            _keep_secret(
                entry.place, Secret(_identities(entry), _key(_only(values, "key", entry.place), entry.place)), found
            )
        case "PPKS":
            _keep_ppk(_identities(entry), values, entry.place, found)
        case "RSA" | "ECDSA" | "EDDSA" | "PKCS8" as word:
            found.keys.append(_private_key(word, _only(values, "file name", entry.place).text, entry.place))
        case "EAP":
            _keep_passwords(entry, _only(values, "password", entry.place), found)
        case _:
            raise entry.place.error(
                "after ':' must be PSK and a key, PPKS, a name and a key, EAP and a password, "
                "or RSA, ECDSA, EDDSA or PKCS8 and a file"
            )


def _only(tokens: list[_Token], what: str, place: Place) -> _Token:
    match tokens:
        case [token]:
            return token
        case []:
            raise place.error(f"the {what} is missing")
        case _:
            raise place.error(f"there is more than the {what}: put one that has blanks in quotes")


def _keep_secret(place: Place, secret: Secret, found: _Found) -> None:
    former, known = found.secrets.setdefault(frozenset(secret.identities), (place, secret))
    if known.key != secret.key:
        raise place.error(f"there is another key for the same identities at {former}")


def _keep_ppk(identities: tuple[Identity, ...], values: list[_Token], place: Place, found: _Found) -> None:
    if len(values) != 2:
        raise place.error('after PPKS must be a name and a key: PPKS "name" "key"')
    ppk = Ppk(identities, values[0].text.encode(), _key(values[1], place))
    former, known = found.ppks.setdefault(ppk.name, (place, ppk))
    if known != ppk:
        raise place.error(f"there is another postquantum preshared key of this name at {former}")


def _keep_passwords(entry: _Entry, token: _Token, found: _Found) -> None:
    """The same password for each of the names, which are users' and no identities."""
    if not entry.words():
        raise entry.place.error("the name of the user is missing before ': EAP'")
    try:
        text = _key(token, entry.place).decode()
    except UnicodeDecodeError:
        raise entry.place.error("a password must be text in UTF-8") from None
    for user in entry.words():
        former, known = found.passwords.setdefault(user, (entry.place, Password(user, text)))
        if known.text != text:
            raise entry.place.error(f"there is another password of the same user at {former}")


def _private_key(word: str, name: str, place: Place) -> PrivateKey:
    """The key in a file, which is relative to the one that names it."""
    path = place.file.parent / name
    try:
        key = load_private_key(read_bytes(path))
    except ValueError as error:
        raise place.error(f"{word} {name}: {error}") from None
    if not isinstance(key, _KINDS[word]):
        raise place.error(f"{word} {name}: the key in it is of another kind; PKCS8 is for any")
    _warn_if_exposed(path)
    return key


def _entries(source: Source, problems: Problems) -> Iterator[_Entry]:
    """The entries of a file: each starts in the first column, and indented lines go on with it."""
    entry: _Entry | None = None
    for place, line in source.lines():
        with problems.gather():
            tokens = _tokens(line, place)
            if not tokens:
                continue
            if line[0] not in " \t":
                if entry:
                    yield entry
                entry = _Entry(place, [])
            elif entry is None:
                raise place.error("this line goes on with nothing: start an entry in the first column")
            entry.tokens.extend(tokens)
    if entry:
        yield entry


def _tokens(line: str, place: Place) -> list[_Token]:
    tokens, position = [], 0
    line = line.rstrip()
    while position < len(line):
        match = _TOKEN.match(line, position)
        if not match:
            raise place.error("a quote is not closed")
        if match["quote"]:
            tokens.append(_Token(match["quoted"], quoted=True))
        elif match["bare"]:
            tokens.append(_Token(match["bare"], quoted=False))
        position = match.end()
    return tokens


def _identities(entry: _Entry) -> tuple[Identity, ...]:
    identities = []
    for number, word in enumerate(entry.words(), start=1):
        if word.lower() in _ANYONE:
            continue
        try:
            identities.append(values.identity(word))
        except ValueError as error:
            raise entry.place.error(f"identity number {number} {error}, or %any") from None
    return tuple(identities)


def _key(token: _Token, place: Place) -> bytes:
    try:
        key = token.text.encode() if token.quoted else _coded_key(token.text)
    except ValueError:
        key = b""
    if not key:
        raise place.error('the key must be "text", 0x and hexadecimal digits, or 0s and base64')
    return key


def _coded_key(text: str) -> bytes:
    """A key written without quotes. Raises ValueError, whose text may tell of the key."""
    code, text = text[:2].lower(), text[2:]
    if code == "0x":
        return bytes.fromhex(text.replace("_", ""))
    if code == "0s":
        return b64decode(text, validate=True)
    if code == "0t":
        return text.encode()
    raise ValueError("no code in front")


def _warn_if_exposed(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        _log.warning("%s holds keys and others may read it: chmod 600 %s", path, path)
