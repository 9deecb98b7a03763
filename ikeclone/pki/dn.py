"""Distinguished names as ipsec.conf writes them: "C=CA, O=Libreswan, CN=*".

The relative names are in the order of the DER encoding, the country first. Commas, or slashes if the text starts with
one, separate them; a backslash makes the next character an ordinary one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ikeclone.crypto.der import OID, SEQUENCE, SET, decode_oid, elements, encode_oid, only, tlv

_WILDCARD = "*"
# RFC 4519, RFC 2985 and the other spellings that IKE daemons know; the first of each object identifier is printed.
_TYPES = {
    "C": "2.5.4.6",
    "ST": "2.5.4.8",
    "S": "2.5.4.8",
    "L": "2.5.4.7",
    "STREET": "2.5.4.9",
    "POSTALCODE": "2.5.4.17",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
    "CN": "2.5.4.3",
    "T": "2.5.4.12",
    "D": "2.5.4.13",
    "SERIALNUMBER": "2.5.4.5",
    "SN": "2.5.4.4",
    "G": "2.5.4.42",
    "GN": "2.5.4.42",
    "I": "2.5.4.43",
    "DNQ": "2.5.4.46",
    "UID": "0.9.2342.19200300.100.1.1",
    "DC": "0.9.2342.19200300.100.1.25",
    "E": "1.2.840.113549.1.9.1",
    "EMAIL": "1.2.840.113549.1.9.1",
    "EMAILADDRESS": "1.2.840.113549.1.9.1",
}
_NAMES = {oid: name for name, oid in reversed(_TYPES.items())}
_UTF8, _NUMERIC, _PRINTABLE, _TELETEX, _IA5, _UNIVERSAL, _BMP = 0x0C, 0x12, 0x13, 0x14, 0x16, 0x1C, 0x1E
_IA5_TYPES = (_TYPES["DC"], _TYPES["E"])  # RFC 4519 section 2.4, RFC 2985 section 5.2.1
_CODECS = {
    _UTF8: "utf-8",
    _NUMERIC: "ascii",
    _PRINTABLE: "ascii",
    _TELETEX: "latin-1",
    _IA5: "ascii",
    _UNIVERSAL: "utf-32-be",
    _BMP: "utf-16-be",
}
_PRINTABLE_TEXT = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One type, a dotted object identifier, and its value as text."""

    oid: str
    value: str

    @property
    def key(self) -> tuple[str, str]:
        """What RFC 5280 section 7.1 compares: without case and superfluous spaces."""
        return self.oid, " ".join(self.value.casefold().split())

    def __str__(self) -> str:
        escaped = re.sub(r"([,+\\])", r"\\\1", self.value)
        printable = (each if each.isprintable() else f"\\{ord(each):x}" for each in escaped)  # it goes into logs
        return f"{_NAMES.get(self.oid, self.oid)}={''.join(printable)}"


@dataclass(frozen=True, slots=True)
class Name:
    """A distinguished name: relative names, each of one attribute or more."""

    rdns: tuple[tuple[Attribute, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Name:
        """Raises ValueError that names the part that is not TYPE=value of a known type."""
        separator = "/" if text.startswith("/") else ","
        parts = _split(text.removeprefix("/"), separator)
        return cls(tuple(tuple(_attribute(each) for each in _split(part, "+")) for part in parts))

    @classmethod
    def from_der(cls, data: bytes) -> Name:
        """Raises ValueError if the octets are not a Name (RFC 5280 section 4.1.2.4)."""
        return cls(tuple(_rdn(tag, content) for tag, content in elements(only(SEQUENCE, data))))

    def der(self) -> bytes:
        """The Name in DER, in PrintableString where that has the characters and else in UTF8String."""
        return tlv(SEQUENCE, *(tlv(SET, *sorted(map(_encode, rdn))) for rdn in self.rdns))

    def covers(self, other: Name) -> bool:
        """Whether the other name is ours, in which a value that is a mere * stands for any."""
        return len(self.rdns) == len(other.rdns) and all(map(_rdn_covers, self.rdns, other.rdns))

    @property
    def is_pattern(self) -> bool:
        """Whether a value is a mere *, which `covers` takes for any."""
        return any(attribute.value == _WILDCARD for rdn in self.rdns for attribute in rdn)

    def same(self, other: Name) -> bool:
        """Whether they are the same name by RFC 5280 section 7.1, a * being nothing but a *."""
        return len(self.rdns) == len(other.rdns) and self.begins_with(other)

    def begins_with(self, other: Name) -> bool:
        """Whether the other name is ours or one above it in the directory."""
        return [_keys(rdn) for rdn in self.rdns[: len(other.rdns)]] == [_keys(rdn) for rdn in other.rdns]

    def __str__(self) -> str:
        return ", ".join("+".join(map(str, rdn)) for rdn in self.rdns)


def is_name(text: str) -> bool:
    """Whether a text is meant as a distinguished name: it starts with TYPE=."""
    word, equals, _ = text.removeprefix("/").partition("=")
    return bool(equals) and _oid(word) is not None


def _split(text: str, separator: str) -> list[str]:
    """Cut at the separators that no backslash precedes."""
    parts = [""]
    for token in re.findall(r"\\.|.", text, re.DOTALL):
        if token == separator:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts]


def _attribute(text: str) -> Attribute:
    word, equals, value = text.partition("=")
    oid = _oid(word)
    if oid is None or not equals:
        raise ValueError(f"{text!r} is not TYPE=value with a TYPE of {', '.join(_TYPES)} or a dotted number")
    return Attribute(oid, _ESCAPED.sub(r"\1", value.strip()))


def _oid(word: str) -> str | None:
    word = word.strip().upper()
    if re.fullmatch(r"[0-2](\.[0-9]{1,10})+", word):
        return word
    return _TYPES.get(word)


def _encode(attribute: Attribute) -> bytes:
    value, tag = attribute.value, _UTF8
    if _PRINTABLE_TEXT.fullmatch(value):
        tag = _PRINTABLE
    if attribute.oid in _IA5_TYPES and value.isascii():
        tag = _IA5
    return tlv(SEQUENCE, tlv(OID, encode_oid(attribute.oid)), tlv(tag, value.encode(_CODECS[tag])))


def _rdn(tag: int, content: bytes) -> tuple[Attribute, ...]:
    if tag != SET or not content:
        raise ValueError("not a relative distinguished name")
    return tuple(_decode(tag, attribute) for tag, attribute in elements(content))


def _decode(tag: int, content: bytes) -> Attribute:
    parts = list(elements(content))
    if tag != SEQUENCE or len(parts) != 2 or parts[0][0] != OID:
        raise ValueError("not an attribute of a name")
    kind, value = parts[1]
    codec = _CODECS.get(kind)
    return Attribute(decode_oid(parts[0][1]), value.decode(codec) if codec else "#" + tlv(kind, value).hex())


def _keys(rdn: tuple[Attribute, ...]) -> list[tuple[str, str]]:
    return sorted(attribute.key for attribute in rdn)


def _rdn_covers(ours: tuple[Attribute, ...], theirs: tuple[Attribute, ...]) -> bool:
    pairs = zip(sorted(ours, key=lambda each: each.oid), sorted(theirs, key=lambda each: each.oid), strict=False)
    return len(ours) == len(theirs) and all(_covers(*pair) for pair in pairs)


def _covers(ours: Attribute, theirs: Attribute) -> bool:
    return ours.key == theirs.key or (ours.value == _WILDCARD and ours.oid == theirs.oid)
