"""The form of ipsec.conf(5) as Libreswan has it: sections, their indented `keyword=value` lines, include."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ikeclone.config.files import Source
from ikeclone.config.problems import Place, Problems

_CLOSING = {'"': '"', "{": "}"}
_SIDE = re.compile(r"(left|right)-")
# Libreswan leaves these to whoever wants to keep notes in the file.
_NOTE = re.compile(r"x[-_]")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line `keyword=value` of a section such as "conn west"; an empty value unsets the keyword."""

    section: str
    key: str
    value: str
    place: Place


@dataclass(frozen=True, slots=True)
class Section:
    """`config setup` or `conn NAME` with its entries, in order."""

    title: str
    place: Place
    entries: list[Entry]


class Lexer:
    """Reads a file, and those it includes, into `sections`; mistakes go to `problems` and reading goes on."""

    def __init__(self, problems: Problems) -> None:
        self.sections: list[Section] = []
        self._problems = problems
        self._section: Section | None = None

    def read(self, source: Source) -> None:
        """Add the sections of a file. A section never goes on in another file."""
        self._section = None
        with self._problems.gather():
            for place, line in source.lines():
                with self._problems.gather():
                    self._line(line, place, source)
        self._section = None

    def _line(self, line: str, place: Place, source: Source) -> None:
        text = line.strip()
        if not text or text.startswith("#"):
            return
        if line[0] in " \t":
            self._entry(text, place)
        else:
            self._heading(text, place, source)

    def _heading(self, text: str, place: Place, source: Source) -> None:
        # What follows belongs to a section that is mistyped, if it is none of these.
        self._section = Section(text, place, [])
        match re.split(r"\s+#", text)[0].split():
            case ["config", "setup"]:
                self._open("config setup", place)
            case ["conn", name]:
                self._open(f"conn {name}", place)
            case ["include", pattern]:
                self._section = None
                for included in source.include(pattern.strip('"'), place):
                    self.read(included)
            case ["version", _]:
                self._section = None
            case [word, *_] if "=" in text:
                raise place.error(f"indent '{word}': a keyword belongs to the section above it")
            case words:
                raise place.error(f"'{' '.join(words)}' is not 'config setup', 'conn NAME' or 'include FILE'")

    def _open(self, title: str, place: Place) -> None:
        self._section = Section(title, place, [])
        self.sections.append(self._section)

    def _entry(self, text: str, place: Place) -> None:
        if self._section is None:
            raise place.error("this line is in no section: put 'config setup' or 'conn NAME' above it")
        key, equals, value = text.partition("=")
        key = _SIDE.sub(r"\1", key.strip().lower().replace("_", "-"))
        if not equals or not key:
            raise place.error(f"'{text}' is not KEYWORD=VALUE")
        if not _NOTE.match(key):
            title = self._section.title
            self._section.entries.append(Entry(title, key, _value(key, value.strip(), place), place))


def _value(key: str, text: str, place: Place) -> str:
    """The value without its quotes or braces, and without the comment after it."""
    if text and (closing := _CLOSING.get(text[0])):
        value, closed, rest = text[1:].partition(closing)
        if not closed:
            raise place.error(f"the value of {key} lacks its closing {closing}")
    else:
        value = "" if text.startswith("#") else "".join(text.split(maxsplit=1)[:1])
        rest = text.removeprefix(value)
    if rest.strip() and not rest.strip().startswith("#"):
        raise place.error(f"the value of {key} has blanks: put it in double quotes")
    return value.strip()


def read_sections(path: Path, problems: Problems) -> list[Section]:
    """The sections of a file and of what it includes."""
    lexer = Lexer(problems)
    lexer.read(Source(path))
    return lexer.sections
