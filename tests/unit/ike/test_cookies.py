"""Cookies: for whom and for how long one is good."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest

from ikeclone.backend import Path
from ikeclone.ike.cookies import LIFETIME, Cookies

PATH = Path(ip_address("192.1.2.23"), ip_address("192.1.2.45"))
SPI, NONCE = b"initiato", b"nonce of the initiator"


@pytest.fixture
def cookies() -> Cookies:
    return Cookies(Random(1).randbytes, 0.0)


def test_it_is_good_for_who_got_it(cookies: Cookies) -> None:
    cookie = cookies.make(SPI, NONCE, PATH, 0.0)
    assert cookies.check(cookie, SPI, NONCE, PATH, 1.0)
    for other in (replace(PATH, remote=ip_address("192.1.2.46")), replace(PATH, remote_port=501)):
        assert not cookies.check(cookie, SPI, NONCE, other, 1.0)
    assert not cookies.check(cookie, SPI, NONCE + b"x", PATH, 1.0)
    assert not cookies.check(cookie, b"another.", NONCE, PATH, 1.0)
    assert not cookies.check(b"", SPI, NONCE, PATH, 1.0)


@pytest.mark.parametrize(
    ("made", "checked", "good"),
    [(0.0, LIFETIME, True), (LIFETIME - 1, 2 * LIFETIME - 1, True), (0.0, 2 * LIFETIME, False), (0.0, 1e6, False)],
)
def test_it_outlives_one_change_of_the_secret(cookies: Cookies, made: float, checked: float, good: bool) -> None:
    cookie = cookies.make(SPI, NONCE, PATH, made)
    assert cookies.check(cookie, SPI, NONCE, PATH, checked) is good
