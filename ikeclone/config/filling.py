"""From the keywords of a section to its model, with every mistake told at the line it is on."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ikeclone.config.keyworded import Keyworded
from ikeclone.config.lexer import Entry
from ikeclone.config.models import ConnKeywords, EndKeywords, Setup
from ikeclone.config.problems import ConfigErrors
from ikeclone.config.sections import ALIASES, SETUP, Merged
from ikeclone.errors import ConfigError

M = TypeVar("M", bound=Keyworded)
Location = tuple[str, ...]

_MAX_QUOTED = 60
_MISSING = {"host": "the address of that end, or %any"}


def _names(model: type[Keyworded]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _conn_locations() -> dict[str, Location]:
    """Where in a ConnKeywords each keyword goes: leftid into ("left", "id"), left into ("left", "host")."""
    locations: dict[str, Location] = {}
    for side in ("left", "right"):
        locations |= {side + name: (side, name) for name in _names(EndKeywords) if name != "host"}
        locations[side] = (side, "host")
    return {name: (name,) for name in _names(ConnKeywords)} | locations


_SETUP: Mapping[str, Location] = {name: (name,) for name in _names(Setup)}
_CONN: Mapping[str, Location] = _conn_locations()


def check_known(entry: Entry) -> None:
    """Raise ConfigError if there is no such keyword in such a section."""
    setup, conn = [*_SETUP, "ocsp-trust-name"], [*_CONN, *ALIASES, "also"]
    known, other, where = (setup, conn, "a conn") if entry.section == SETUP else (conn, setup, SETUP)
    if entry.key in known:
        return
    close = get_close_matches(entry.key, known, n=1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    if entry.key in other:
        hint = f" (it belongs into {where})"
    raise entry.place.error(f"{entry.section}: unknown keyword '{entry.key}'{hint}")


def is_whole(section: Merged) -> bool:
    """Whether a template says all that a conn must say."""
    return section.keywords.keys() >= {"left", "right"} and _says_how(section)


def check_authby(section: Merged) -> None:
    """Raise ConfigError unless a conn says how both of its ends authenticate."""
    if not _says_how(section):
        how = "give authby=secret, for a preshared key, authby=rsasig, ecdsa or eddsa, for signatures"
        text = f"authby= is missing: {how}, or both leftauth= and rightauth="
        raise section.place.error(f"{section.title}: {text}")


def _says_how(section: Merged) -> bool:
    said = {key for key, entry in section.keywords.items() if entry.value}
    return "authby" in said or said >= {"leftauth", "rightauth"}


def fill_setup(section: Merged) -> Setup:
    """The model of `config setup`. Raises ConfigErrors."""
    return _fill(Setup, {}, _SETUP, section)


def fill_conn(section: Merged) -> ConnKeywords:
    """The model of a conn. Raises ConfigErrors."""
    return _fill(ConnKeywords, {"left": {}, "right": {}}, _CONN, section)


def _fill(model: type[M], data: dict[str, Any], locations: Mapping[str, Location], section: Merged) -> M:
    """Put each keyword that has a value where `locations` says, and have the model take it."""
    keywords = section.keywords.items()
    entries = {locations[key]: entry for key, entry in keywords if key in locations and entry.value}
    for location, entry in entries.items():
        target = data if len(location) == 1 else data[location[0]]
        target[location[-1]] = entry.value
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        mistakes = invalid.errors(include_url=False)
        raise ConfigErrors(_mistake(mistake, entries, section) for mistake in mistakes) from None


def _mistake(mistake: ErrorDetails, entries: Mapping[Location, Entry], section: Merged) -> ConfigError:
    location = tuple(map(str, mistake["loc"]))
    keyword = "".join(part for part in location if part != "host")
    if mistake["type"] == "missing":
        return section.place.error(f"{section.title}: {keyword}= is missing: give {_MISSING[location[-1]]}")
    reason = str(mistake["ctx"]["error"])
    if entry := entries.get(location):
        return entry.place.error(f"{entry.section}: {entry.key}={entry.value[:_MAX_QUOTED]}: {reason}")
    return section.place.error(": ".join(filter(None, (section.title, keyword, reason))))
