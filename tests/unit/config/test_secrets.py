"""ipsec.secrets, and whether each connection has its key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ikeclone.config import ConfigErrors, load, load_credentials, load_secrets
from ikeclone.connection import Identity, Ppk, Secret
from ikeclone.errors import ConfigError

Write = Callable[..., Path]

NOW = datetime(2026, 6, 1, tzinfo=UTC)
WEST, EAST = Identity.parse("@west"), Identity.parse("@east")
KEY = "correct-horse"


WORDS = (
    "1: after ':' must be PSK and a key, PPKS, a name and a key, EAP and a password, "
    "or RSA, ECDSA, EDDSA or PKCS8 and a file"
)


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ('@west @east : PSK "secret"', Secret((WEST, EAST), b"secret")),
        (': PSK "two words # no comment"  # a comment', Secret((), b"two words # no comment")),
        (": psk 'single'", Secret((), b"single")),
        ("%any @east : PSK 0x00ff_AA", Secret((EAST,), b"\x00\xff\xaa")),
        ("%any %any6 : PSK 0sAAEC", Secret((), b"\x00\x01\x02")),
        (": PSK 0ttext", Secret((), b"text")),
        (': PSK "0x00"', Secret((), b"0x00")),
        (
            '192.1.2.45 "2001:db8::1" : PSK "x"',
            Secret(tuple(map(Identity.parse, ("192.1.2.45", "2001:db8::1"))), b"x"),
        ),
        ('@west\n\t@east\n\n# more\n  : PSK\n\t"secret"', Secret((WEST, EAST), b"secret")),
        (': PSK "über"', Secret((), "über".encode())),
    ],
)
def test_secret(write: Write, line: str, secret: Secret) -> None:
    assert load_secrets(write(f"# keys\n\n{line}\n")).secrets == (secret,)


def test_postquantum_keys(write: Write) -> None:
    ppks = load_secrets(write(': PPKS "one" 0x00ff\n@west @east : PPKS two "text"\n')).ppks
    assert ppks == (Ppk((), b"one", b"\x00\xff"), Ppk((WEST, EAST), b"two", b"text"))


@pytest.mark.parametrize(
    ("keyword", "keys", "found"),
    [
        ("ppk=insist", "", False),
        ("ppk=insist", ': PPKS "one" "key"', True),
        ("ppk=insist\n\tppk-ids=two,three", ': PPKS "one" "key"', False),
        ("ppk=always\n\tppk-ids=two,one", ': PPKS "one" "key"', True),
        ("ppk=propose", "", True),
        ("ppk=never", "", True),
    ],
)
def test_a_connection_that_insists_needs_a_postquantum_key(write: Write, keyword: str, keys: str, found: bool) -> None:
    config = load(write(f"conn a\n\tleft=192.1.2.45\n\tright=192.1.2.23\n\tauthby=secret\n\t{keyword}\n"))
    secrets = write(f': PSK "x"\n{keys}\n', "ipsec.secrets")
    if found:
        assert len(load_credentials(config, secrets, NOW).ppks) == bool(keys)
        return
    with pytest.raises(ConfigErrors, match="ppk=insist, but there is no postquantum preshared key"):
        load_credentials(config, secrets, NOW)


def test_the_example() -> None:
    (secret,) = load_secrets(Path(__file__).parents[3] / "conf" / "ipsec.secrets").secrets
    assert secret.identities == (WEST, EAST)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'@west PSK "{KEY}"', "1: there is no ':' between blanks: write IDENTITIES : PSK \"key\""),
        (f'@west: PSK "{KEY}"', "1: there is no ':' between blanks: write IDENTITIES : PSK \"key\""),
        (f'@west : "{KEY}"', WORDS),
        (f'@west : XAUTH "{KEY}"', WORDS),
        ("@west :", WORDS),
        ("@west : PSK", "1: the key is missing"),
        (f": PPKS {KEY}", '1: after PPKS must be a name and a key: PPKS "name" "key"'),
        (f": PPKS name {KEY}", '1: the key must be "text", 0x and hexadecimal digits, or 0s and base64'),
        (f': PPKS n "{KEY}"\n: PPKS n "two"', "2: there is another postquantum preshared key of this name at FILE:1"),
        (f": PSK {KEY} two", "1: there is more than the key: put one that has blanks in quotes"),
        (f': PSK "{KEY}', "1: a quote is not closed"),
        (f"\t: PSK {KEY}", "1: this line goes on with nothing: start an entry in the first column"),
        (f": PSK {KEY}", '1: the key must be "text", 0x and hexadecimal digits, or 0s and base64'),
        (f": PSK 0x{KEY}", '1: the key must be "text", 0x and hexadecimal digits, or 0s and base64'),
        (f": PSK 0s{KEY}", '1: the key must be "text", 0x and hexadecimal digits, or 0s and base64'),
        (': PSK ""', '1: the key must be "text", 0x and hexadecimal digits, or 0s and base64'),
        (
            f'{KEY} : PSK "x"',
            '1: identity number 1 must be an IP address, @host.name, user@host.name, @#hex or "C=CA, CN=west", or %any',
        ),
        (
            f'@west : PSK "{KEY}"\n\n@west : PSK "other"',
            "3: there is another key for the same identities at FILE:1",
        ),
        ("include nowhere", "1: include nowhere: there is no such file"),
    ],
)
def test_mistakes_tell_no_key(write: Write, text: str, message: str) -> None:
    path = write(text, "ipsec.secrets")
    with pytest.raises(ConfigErrors) as caught:
        load_secrets(path)
    assert str(caught.value) == f"{path}:{message.replace('FILE', str(path))}"
    assert KEY not in repr(caught.value)


def test_a_secret_is_never_printed(write: Write) -> None:
    assert KEY not in repr(load_secrets(write(f'@west : PSK "{KEY}"')))


def test_the_same_key_twice_is_no_mistake(write: Write) -> None:
    assert len(load_secrets(write('@west @east : PSK "x"\n@east @west : PSK "x"\n')).secrets) == 1


def test_include(write: Write) -> None:
    write('@west : PSK "a"\n', "secrets.d/a.secrets")
    write('@east : PSK "b"\n', "secrets.d/b.secrets")
    assert [secret.key for secret in load_secrets(write("include secrets.d/*.secrets\n")).secrets] == [b"a", b"b"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"cannot read {tmp_path}/ipsec\.secrets: No such file or directory"):
        load_secrets(tmp_path / "ipsec.secrets")


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True)])
def test_warning_of_exposed_keys(write: Write, caplog: pytest.LogCaptureFixture, mode: int, warns: bool) -> None:
    path = write(': PSK "x"', "ipsec.secrets")
    path.chmod(mode)
    load_secrets(path)
    assert (f"chmod 600 {path}" in caplog.text) is warns


@pytest.mark.parametrize(
    ("secrets", "found"),
    [
        ('@west @east : PSK "x"', True),
        ('@east : PSK "x"', True),
        (': PSK "x"', True),
        ('@north : PSK "x"', False),
        ("", False),
    ],
)
def test_every_connection_needs_a_key(write: Write, secrets: str, found: bool) -> None:
    text = "conn a\n\tleft=192.1.2.45\n\tright=192.1.2.23\n\tleftid=@west\n\trightid=@east\n\tauthby=secret\n"
    config = load(write(text))
    keys = write(secrets, "ipsec.secrets")
    if found:
        load_credentials(config, keys, NOW)
        return
    with pytest.raises(ConfigErrors) as caught:
        load_credentials(config, keys, NOW)
    assert str(caught.value).endswith(
        "ipsec.conf:1: conn a: there is no preshared key: put a line '@west @east : PSK \"...\"' into ipsec.secrets"
    )


@pytest.mark.parametrize(("secrets", "found"), [('@west @north : PSK "x"', True), ('@east : PSK "x"', False)])
def test_a_key_for_whoever_comes(write: Write, secrets: str, found: bool) -> None:
    config = load(write("conn a\n\tleft=192.1.2.45\n\tright=%any\n\tleftid=@west\n\tauthby=secret\n"))
    keys = write(secrets, "ipsec.secrets")
    if found:
        load_credentials(config, keys, NOW)
    else:
        with pytest.raises(ConfigErrors, match="'@west %any : PSK"):
            load_credentials(config, keys, NOW)
