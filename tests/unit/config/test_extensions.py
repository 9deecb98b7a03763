"""Keywords of what IKEv2 can do beyond RFC 7296."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from ikeclone.config import load
from ikeclone.connection import Childless, Choice, Redirection

Write = Callable[..., Path]
Mistakes = Callable[[str], list[str]]
HOSTS = "\tleft=192.1.2.45\n\tright=192.1.2.23\n\tauthby=secret\n"
WEST = frozenset({ip_address("192.1.2.45")})
GATEWAYS = ip_address("192.0.2.1"), ip_address("192.0.2.2")
AUTO = Choice.AUTO


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("", "childless", Childless.ALLOW),
        ("childless=prefer", "childless", Childless.PREFER),
        ("childless=force", "childless", Childless.FORCE),
        ("childless=never", "childless", Childless.NEVER),
        ("", "redirection", Redirection()),
        ("", "resumption", False),
        ("session-resumption=yes", "resumption", True),
        ("accept-redirect=yes", "redirection", Redirection(accept=True)),
        ("accept-redirect=yes\n\taccept-redirect-to=%any", "redirection", Redirection(accept=True)),
        ("accept-redirect-to=192.0.2.1,192.0.2.2", "redirection", Redirection(accept_to=GATEWAYS)),
        (
            "send-redirect=auto\n\tredirect-to=192.0.2.1,192.0.2.2",
            "redirection",
            Redirection(False, (), AUTO, GATEWAYS),
        ),
    ],
)
def test_what_is_said(write: Write, line: str, field: str, value: object) -> None:
    path = write(f"conn a\n{HOSTS}\t{line}\n")
    assert getattr(load(path).connections[0].connection(WEST), field) == value


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("childless=yes", "must be one of allow, prefer, force, never"),
        ("accept-redirect=maybe", "must be one of yes, no, true, false, on, off, 1, 0"),
        ("accept-redirect-to=gw.example", "must be an IP address; names are not looked up"),
        ("redirect-to=%any", "must be an IP address; names are not looked up"),
        ("send-redirect=always", "must be one of auto, yes, no"),
        ("session-resumption=always", "must be one of yes, no, true, false, on, off, 1, 0"),
    ],
)
def test_mistakes(mistakes: Mistakes, line: str, reason: str) -> None:
    assert mistakes("conn a\n" + HOSTS + f"\t{line}\n") == [f"ipsec.conf:5: conn a: {line}: {reason}"]


def test_all_peers_may_be_sent_elsewhere(write: Write) -> None:
    text = "config setup\n\tglobal-redirect=yes\n\tglobal-redirect-to=192.0.2.1,192.0.2.2\n"
    assert load(write(text)).setup.redirection() == Redirection(send=Choice.YES, to=GATEWAYS)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (f"conn a\n{HOSTS}\tsend-redirect=yes\n", "conn a: send-redirect= needs redirect-to="),
        ("config setup\n\tglobal-redirect=auto\n", "config setup: global-redirect= needs global-redirect-to="),
    ],
)
def test_to_send_peers_elsewhere_needs_a_place(mistakes: Mistakes, text: str, mistake: str) -> None:
    assert mistakes(text) == [f"ipsec.conf:1: {mistake}, the gateway to send peers to"]
