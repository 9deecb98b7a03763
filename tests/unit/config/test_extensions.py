"""Keywords of what IKEv2 can do beyond RFC 7296."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from ikeclone.config import load
from ikeclone.connection import Childless

Write = Callable[..., Path]
Mistakes = Callable[[str], list[str]]
HOSTS = "\tleft=192.1.2.45\n\tright=192.1.2.23\n\tauthby=secret\n"
WEST = frozenset({ip_address("192.1.2.45")})


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("", "childless", Childless.ALLOW),
        ("childless=prefer", "childless", Childless.PREFER),
        ("childless=force", "childless", Childless.FORCE),
        ("childless=never", "childless", Childless.NEVER),
    ],
)
def test_what_is_said(write: Write, line: str, field: str, value: object) -> None:
    path = write(f"conn a\n{HOSTS}\t{line}\n")
    assert getattr(load(path).connections[0].connection(WEST), field) == value


@pytest.mark.parametrize(
    ("line", "reason"),
    [("childless=yes", "must be one of allow, prefer, force, never")],
)
def test_mistakes(mistakes: Mistakes, line: str, reason: str) -> None:
    assert mistakes("conn a\n" + HOSTS + f"\t{line}\n") == [f"ipsec.conf:5: conn a: {line}: {reason}"]
