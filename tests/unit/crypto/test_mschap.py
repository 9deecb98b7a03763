"""MD4 and MS-CHAP version 2 against the vectors of RFC 1320, RFC 2759 and RFC 3079."""

from __future__ import annotations

import pytest

from ikeclone.crypto.md4 import md4
from ikeclone.crypto.mschap import Exchange, nt_hash

# RFC 1320 appendix A.5.
DIGESTS = {
    "": "31d6cfe0d16ae931b73c59d7e0c089c0",
    "a": "bde52cb31de33e46245e05fbdbd6fb24",
    "abc": "a448017aaf21d8525fc10ae87aa6729d",
    "message digest": "d9130a8164549fe818874806e1c7014b",
    "abcdefghijklmnopqrstuvwxyz": "d79e1c308aa5bbcdeea8ed63df412da9",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789": "043f8582f241db351ce627e153e7f0e4",
    "1234567890" * 8: "e33b4ddc9c38f2199c3e7b164fcc0536",
}

# RFC 2759 section 9.2; RFC 3079 section 3.5.3 goes on with it.
EXCHANGE = Exchange(
    bytes.fromhex("5b5d7c7d7b3f2f3e3c2c602132262628"),
    bytes.fromhex("21402324255e262a28295f2b3a337c7e"),
    b"User",
    nt_hash("clientPass"),
)


@pytest.mark.parametrize("text", DIGESTS)
def test_md4(text: str) -> None:
    assert md4(text.encode()).hex() == DIGESTS[text]


def test_the_hash_of_a_password() -> None:
    assert nt_hash("clientPass").hex() == "44ebba8d5312b8d611474411f56989ae"


def test_the_proofs_of_both_sides() -> None:
    assert EXCHANGE.response().hex() == "82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df"
    assert EXCHANGE.authenticator().hex().upper() == "407A5589115FD0D6209F510FE9C04566932CDA56"


def test_a_domain_is_not_part_of_the_name() -> None:
    in_domain = Exchange(EXCHANGE.server_challenge, EXCHANGE.peer_challenge, b"DOMAIN\\User", EXCHANGE.password)
    assert in_domain.response() == EXCHANGE.response()


def test_the_keys() -> None:
    """The RFC gives the key that the server sends with; MSK has it after the one that it receives with."""
    msk = EXCHANGE.msk()
    assert msk[16:32].hex() == "8b7cdc149b993a1ba118cb153f56dccb"
    assert len(msk) == 64
    assert msk[:16] not in (msk[16:32], bytes(16))
    assert msk[32:] == bytes(32)


def test_nothing_of_the_password_is_printed() -> None:
    assert "password" not in repr(EXCHANGE)
