"""ipsec.secrets: preshared keys and the identities they are for (Libreswan's ipsec.secrets(5)).

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

from ikeclone.config import values
from ikeclone.config.files import Source
from ikeclone.config.problems import Place, Problems
from ikeclone.connection import Identity, Secret
from ikeclone.errors import ConfigError

_TOKEN = re.compile(r"""\s*(?:(?P<quote>["'])(?P<quoted>.*?)(?P=quote)|(?P<comment>\#.*)|(?P<bare>[^\s"'\#]\S*))""")
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


def load_secrets(path: Path) -> tuple[Secret, ...]:
    """Read a file of preshared keys and those it includes.

    Raises ConfigErrors with every mistake in them. Warns in the log of a file that others may read.
    """
    problems = Problems()
    found: dict[frozenset[Identity], tuple[Place, Secret]] = {}
    with problems.gather():
        _read(Source(path), found, problems)
    problems.check()
    return tuple(secret for _, secret in found.values())


def _read(source: Source, found: dict[frozenset[Identity], tuple[Place, Secret]], problems: Problems) -> None:
    for entry in _entries(source, problems):
        with problems.gather():
            match [token.text for token in entry.tokens]:
                case ["include", pattern]:
                    for included in source.include(pattern, entry.place):
                        _read(included, found, problems)
                case _:
                    _keep(entry.place, _secret(entry), found)
    _warn_if_exposed(source.path)


def _keep(place: Place, secret: Secret, found: dict[frozenset[Identity], tuple[Place, Secret]]) -> None:
    former, known = found.setdefault(frozenset(secret.identities), (place, secret))
    if known.key != secret.key:
        raise place.error(f"there is another key for the same identities at {former}")


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


def _secret(entry: _Entry) -> Secret:
    colon = entry.colon()
    match [token.text.upper() for token in entry.tokens[colon + 1 : colon + 2]], entry.tokens[colon + 2 :]:
        case ["PSK"], [token]:
            return Secret(_identities(entry), _key(token, entry.place))
        case ["PSK"], []:
            raise entry.place.error("there is no key after PSK")
        case ["PSK"], _:
            raise entry.place.error("there is more than the key after PSK: put a key that has blanks in quotes")
        case _:
            raise entry.place.error("only preshared keys are supported: write ': PSK \"key\"'")


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
