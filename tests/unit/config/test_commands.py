"""leftupdown=, the command that is run without a shell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ikeclone.config import load
from tests.unit.config.test_handling import EAST, HOSTS, WEST


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("/etc/updown", ("/etc/updown",)),
        ('"ipsec _updown --route yes"', ("ipsec", "_updown", "--route", "yes")),
        ("\"run 'two words' #4\"", ("run", "two words", "#4")),
        ("\"sh -c 'a; b | c'\"", ("sh", "-c", "a; b | c")),
        ("", ()),
    ],
)
def test_words(write: Callable[..., Path], value: str, words: tuple[str, ...]) -> None:
    path = write(f"conn a\n{HOSTS}\tleftupdown={value}\n\trightupdown=other\n")
    conn = load(path).connections[0]
    assert (conn.connection(WEST).local.updown, conn.connection(EAST).local.updown) == (words, ("other",))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("a;b", "is run without a shell, which ( ) ; < > | and & are for: put them into a script"),
        ("a && b", "is run without a shell, which ( ) ; < > | and & are for: put them into a script"),
        ("a > /tmp/log", "is run without a shell, which ( ) ; < > | and & are for: put them into a script"),
        ("a 'b", "a quotation mark is not closed"),
    ],
)
def test_mistakes(mistakes: Callable[[str], list[str]], value: str, reason: str) -> None:
    text = f'conn a\n{HOSTS}\tleftupdown="{value}"\n'
    assert mistakes(text) == [f"ipsec.conf:5: conn a: leftupdown={value}: {reason}"]
