"""ipsec.conf from file to models, with the certificates that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ikeclone.config.certificates import read_certificates, read_directory, read_lists
from ikeclone.config.connections import Config, Conn
from ikeclone.config.filling import check_authby, check_known, fill_conn, fill_setup, is_whole
from ikeclone.config.lexer import Section, read_sections
from ikeclone.config.modecfg import overlaps
from ikeclone.config.models import Setup
from ikeclone.config.papers import beside, mistake, read_papers
from ikeclone.config.problems import Problems
from ikeclone.config.sections import Merged, Sections
from ikeclone.errors import ConfigError
from ikeclone.pki.certificate import Certificate

T = TypeVar("T")


def load(path: Path) -> Config:
    """Read a configuration file, those it includes, and the certificates and lists that they name.

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
    authorities = _trusted(sections.setup, "cacerts", path, read_certificates, problems)
    lists = _trusted(sections.setup, "crls", path, read_lists, problems)
    signer = _signer(sections.setup, problems)
    conns = _conns(sections, authorities, problems)
    problems.add(*overlaps(conns))
    problems.check()
    return Config(path, setup, conns, authorities, setup.policy(lists, signer))


def _check_known(sections: list[Section], problems: Problems) -> None:
    for section in sections:
        for entry in section.entries:
            with problems.gather():
                check_known(entry)


def _conns(sections: Sections, authorities: tuple[Certificate, ...], problems: Problems) -> tuple[Conn, ...]:
    conns = []
    for section in sections.conns():
        if section.template and not is_whole(section):
            continue
        with problems.gather():
            check_authby(section)
        with problems.gather():
            keywords = fill_conn(section)
            papers = [read_papers(section, side, authorities) for side in ("left", "right")]
            conns.append(Conn(section.name, section.place, keywords, *papers))
    return tuple(conns)


def _signer(section: Merged | None, problems: Problems) -> Certificate | None:
    """The certificate that `ocsp-trustname` names: its holder may sign OCSP responses of any authority."""
    entry = section.keywords.get("ocsp-trustname") if section else None
    if not entry or not entry.value:
        return None
    try:
        return read_certificates(beside(entry.place, entry.value))[0]
    except ValueError as error:
        problems.add(mistake(entry, str(error)))
        return None


def _trusted(
    section: Merged | None, keyword: str, path: Path, read: Callable[[Path], tuple[T, ...]], problems: Problems
) -> tuple[T, ...]:
    """What the files hold of the directory that a keyword of `config setup` names, else of one beside the file."""
    entry = section.keywords.get(keyword) if section else None
    if entry and entry.value:
        try:
            return read_directory(beside(entry.place, entry.value), read)
        except ValueError as error:
            problems.add(mistake(entry, str(error)))
        return ()
    directory = path.parent / "ipsec.d" / keyword
    try:
        return read_directory(directory, read) if directory.is_dir() else ()
    except ValueError as error:
        problems.add(ConfigError(str(error)))
    return ()
