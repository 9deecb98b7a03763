"""EAP in ipsec.conf and ipsec.secrets: users, their passwords, and which end may use it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ikeclone.connection import Authby, Password
from ikeclone.numbers import EapType
from tests.unit.config.test_certificates import HOSTS, Mistake, Read, connection, files, mistake, read

__all__ = ["files", "mistake", "read"]

EAP = Authby(eap=(EapType.MSCHAPV2,))
WARRIOR = HOSTS + "\tauthby=ecdsa\n\tleftauth=eap-mschapv2\n"
GATEWAY = HOSTS + "\tauthby=ecdsa\n\tleftcert=certs/west.pem\n\trightauth=eap-mschapv2\n"


def test_a_password_is_not_printed() -> None:
    assert "xyzzy" not in repr(Password("alice", "xyzzy"))


def test_a_road_warrior(read: Read) -> None:
    config, credentials = read(WARRIOR + "\tleftusername=alice\n", "alice : EAP 'a word'\n")
    end = connection(config).local
    assert (end.auth, end.user) == (EAP, "alice")
    assert credentials.password_of(b"alice") == credentials.password_of(b"OFFICE\\alice") == "a word"
    assert credentials.password_of(b"bob") is None


def test_a_gateway(read: Read) -> None:
    lines = ": PKCS8 west.key\nalice bob : EAP 'a word'\nOFFICE\\carol : eap 0x6869\n"
    config, credentials = read(GATEWAY, lines)
    assert connection(config).remote.auth == EAP
    assert [credentials.password_of(user) for user in (b"alice", b"bob", b"OFFICE\\carol")] == [
        "a word",
        "a word",
        "hi",
    ]


@pytest.mark.parametrize(
    ("conf", "secrets", "told"),
    [
        (WARRIOR, "alice : EAP 'x'\n", "leftusername= is missing: EAP needs the name of the user"),
        (WARRIOR + "\tleftusername=bob\n", "alice : EAP 'x'\n", "there is no password: put a line 'bob : EAP"),
        (GATEWAY, ": PKCS8 west.key\n", "no user has a password"),
        (HOSTS + "\tauthby=eap-mschapv2\n", "", "EAP is for one end"),
        (HOSTS + "\tauthby=secret\n\tleftauth=eap-mschapv2\n", "", "the other authenticates with a signature"),
    ],
)
def test_what_is_missing(mistake: Mistake, conf: str, secrets: str, told: str) -> None:
    assert told in mistake(conf, secrets)


def test_the_examples_for_users_on_the_road(read: Read) -> None:
    """Both are comments: they name a certificate that is not there."""
    example = (Path(__file__).parents[3] / "conf" / "ipsec.conf").read_text()
    lines = example[example.index("# conn road") :].splitlines()
    conns = [line.removeprefix("# ").removeprefix("#") for line in lines if line.startswith(("# conn ", "#\t"))]
    text = "\n".join(conns).replace("gateway.pem", "certs/west.pem")
    config, _ = read(text + "\n", ": PKCS8 west.key\nalice : EAP 'a word'\n")
    gateway, user = config.connections
    assert (gateway.name, user.name) == ("road", "home")
    (pool,) = gateway.ends[1].pools
    assert str(pool) == "10.3.0.1-10.3.0.254"
    assert user.ends[0].asks


TLS = Authby(eap=(EapType.TLS,))


def test_certificates_in_eap(read: Read) -> None:
    """A user with a certificate; the other end proves itself by a signature, or both do by EAP alone (RFC 5998)."""
    shown = HOSTS + "\tleftcert=certs/west.pem\n\trightca=%any\n"
    for authby, remote in (("authby=ecdsa\n\tleftauth=eap-tls", None), ("authby=eap-tls", TLS)):
        config, _ = read(f"{shown}\t{authby}\n", ": PKCS8 west.key\n")
        made = connection(config)
        assert made.local.auth == TLS
        assert made.local.certificates
        assert remote is None or made.remote.auth == remote


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        (HOSTS + "\tauthby=ecdsa\n\tleftauth=eap-tls\n", "leftcert= is missing"),
        (
            HOSTS + "\tleftcert=certs/west.pem\n\tleftauth=eap-tls\n\trightauth=eap-mschapv2\n",
            "or with eap-tls like the",
        ),
        (HOSTS + "\tleftcert=certs/west.pem\n\tauthby=eap-mschapv2\n", "leftcert= and keys are for signatures"),
    ],
)
def test_what_certificates_in_eap_lack(mistake: Mistake, conf: str, told: str) -> None:
    assert told in mistake(conf, ": PKCS8 west.key\nalice : EAP 'x'\n")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (": EAP 'x'\n", "the name of the user is missing"),
        ("alice : EAP\n", "the password is missing"),
        ("alice : EAP 'x'\nalice : EAP 'y'\n", "another password of the same user"),
        ("alice : EAP 0xff\n", "must be text in UTF-8"),
    ],
)
def test_mistakes_in_secrets(mistake: Mistake, lines: str, told: str) -> None:
    assert told in mistake(GATEWAY, ": PKCS8 west.key\n" + lines)
