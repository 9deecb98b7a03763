"""ipsec.conf from file to models, and what can be said of it beside ipsec.secrets."""

from __future__ import annotations

from pathlib import Path

from ikeclone.config.connections import Config, Conn
from ikeclone.config.filling import check_known, fill_conn, fill_setup
from ikeclone.config.lexer import Section, read_sections
from ikeclone.config.models import EndKeywords, Setup
from ikeclone.config.problems import ConfigErrors, Problems
from ikeclone.config.sections import Sections
from ikeclone.connection import Secret, find_secret

_REQUIRED = {"left", "right", "authby"}


def load(path: Path) -> Config:
    """Read a configuration file and those it includes.

    Raises ConfigErrors with every mistake in them, each with its file and line.
    """
    problems = Problems()
    read = read_sections(path, problems)
    _check_known(read, problems)
    sections = Sections(read, problems)
    setup = Setup()
    with problems.gather():
        if sections.setup:
            setup = fill_setup(sections.setup)
    conns = _conns(sections, problems)
    problems.check()
    return Config(path, setup, conns)


def check_secrets(config: Config, secrets: tuple[Secret, ...]) -> None:
    """Raise ConfigErrors naming the conns that have no preshared key."""
    missing = [conn for conn in config.connections if not _has_secret(conn, secrets)]
    if missing:
        raise ConfigErrors(conn.place.error(_no_secret(conn)) for conn in missing)


def _check_known(sections: list[Section], problems: Problems) -> None:
    for section in sections:
        for entry in section.entries:
            with problems.gather():
                check_known(entry)


def _conns(sections: Sections, problems: Problems) -> tuple[Conn, ...]:
    conns = []
    for section in sections.conns():
        if section.template and not section.keywords.keys() >= _REQUIRED:
            continue
        with problems.gather():
            conns.append(Conn(section.name, section.place, fill_conn(section)))
    return tuple(conns)


def _ends(conn: Conn) -> tuple[EndKeywords, EndKeywords]:
    return conn.keywords.left, conn.keywords.right


def _has_secret(conn: Conn, secrets: tuple[Secret, ...]) -> bool:
    """Whether there is a secret, whichever end is this host; an end that is anyone takes the other's."""
    identities = [known for end in _ends(conn) if (known := end.end().identity)]
    one, other = identities[0], identities[-1]
    return find_secret(secrets, one, other) is not None or find_secret(secrets, other, one) is not None


def _no_secret(conn: Conn) -> str:
    names = " ".join(str(end.end().identity or "%any") for end in _ends(conn))
    return f"conn {conn.name}: there is no preshared key: put a line '{names} : PSK \"...\"' into ipsec.secrets"
