"""What each conn says in the end: its own keywords, then those of `also=`, then those of `conn %default`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ikeclone.config.lexer import Entry, Section
from ikeclone.config.problems import Place, Problems

SETUP = "config setup"
DEFAULT = "conn %default"

Keywords = Mapping[str, Entry]

# Other spellings that Libreswan takes.
ALIASES = {
    "keylife": "ipsec-lifetime",
    "lifetime": "ipsec-lifetime",
    "ocsp-trust-name": "ocsp-trustname",
    "phase2alg": "esp",
    "salifetime": "ipsec-lifetime",
}


@dataclass(frozen=True, slots=True)
class Merged:
    """A section with all that applies to it; a `template` is a conn that others take over with `also=`."""

    title: str
    place: Place
    keywords: Keywords
    template: bool = False

    @property
    def name(self) -> str:
        """NAME of `conn NAME`."""
        return self.title.removeprefix("conn ")


@dataclass(frozen=True, slots=True)
class _Conn:
    place: Place
    own: Keywords
    also: tuple[Entry, ...]


class Sections:
    """The sections of a configuration, by name and free of duplicates; mistakes go to `problems`."""

    def __init__(self, sections: Iterable[Section], problems: Problems) -> None:
        self._problems = problems
        self._defaults: dict[str, Entry] = {}
        self._conns: dict[str, _Conn] = {}
        self.setup: Merged | None = None
        for section in sections:
            with problems.gather():
                self._add(section)

    def conns(self) -> Iterator[Merged]:
        """Every conn but %default, in the order of the file."""
        taken_over = {entry.value for conn in self._conns.values() for entry in conn.also}
        for name, conn in self._conns.items():
            keywords: dict[str, Entry] = {}
            for inherited in self._lineage(name, []):
                keywords = {**self._conns[inherited].own, **keywords}
            yield Merged(f"conn {name}", conn.place, {**self._defaults, **keywords}, name in taken_over)

    def _add(self, section: Section) -> None:
        entries = [entry for entry in section.entries if entry.key != "also"]
        also = tuple(entry for entry in section.entries if entry.key == "also")
        if section.title in (SETUP, DEFAULT) and also:
            raise also[0].place.error(f"{section.title}: also= is for other conns only")
        if section.title == DEFAULT:
            self._collect(entries, self._defaults)
        elif section.title == SETUP:
            self._once(section, self.setup.place if self.setup else None)
            self.setup = Merged(SETUP, section.place, self._collect(entries, {}))
        else:
            name = section.title.removeprefix("conn ")
            self._once(section, self._conns[name].place if name in self._conns else None)
            self._conns[name] = _Conn(section.place, self._collect(entries, {}), also)

    def _once(self, section: Section, former: Place | None) -> None:
        if former:
            raise section.place.error(f"{section.title} is there twice: first at {former}")

    def _collect(self, entries: Iterable[Entry], keywords: dict[str, Entry]) -> dict[str, Entry]:
        """Add entries to `keywords`, under the names that aliases stand for; of two, the first stays."""
        for entry in entries:
            former = keywords.setdefault(ALIASES.get(entry.key, entry.key), entry)
            if former is not entry:
                as_what = f" as {former.key}" if former.key != entry.key else ""
                twice = f"{entry.section}: {entry.key} is there twice: first at {former.place}{as_what}"
                self._problems.add(entry.place.error(twice))
        return keywords

    def _lineage(self, name: str, seen: list[str]) -> list[str]:
        """The conn and those it takes over, the nearest first; one met again is left out: no loop harms."""
        seen.append(name)
        for entry in self._conns[name].also:
            if entry.value not in self._conns:
                missing = f"{entry.section}: also={entry.value}: there is no such conn"
                self._problems.add(entry.place.error(missing))
            elif entry.value not in seen:
                self._lineage(entry.value, seen)
        return seen
