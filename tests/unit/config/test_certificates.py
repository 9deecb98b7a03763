"""Certificates and private keys that ipsec.conf and ipsec.secrets name: what they become, and what can be wrong."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ikeclone.config import Config, ConfigErrors, load, load_credentials, load_secrets
from ikeclone.connection import Authby, Connection, Identity, SendCert
from ikeclone.credentials import Credentials
from ikeclone.crypto.schemes import Kind
from ikeclone.crypto.signature import PublicKey, SignaturePolicy
from ikeclone.numbers import HashAlgorithm, IdType
from tests.unit.pki.authority import DAY, NOW, Holder, alternative, new_key, root
from tests.unit.pki.test_revocation import crl

ROOT, OTHER = root(), root("C=CA, O=Other, CN=Root")
MIDDLE = ROOT.authority("C=CA, O=Test, CN=Middle")
WEST = MIDDLE.issue("C=CA, O=Test, CN=west", alternative(x509.DNSName("west")))
EAST = ROOT.issue("C=CA, O=Test, CN=east", alternative(x509.DNSName("east")))
OLD = ROOT.issue("C=CA, O=Test, CN=old", validity=(NOW - 3 * DAY, NOW - 2 * DAY))
SHA2 = (HashAlgorithm.SHA2_512, HashAlgorithm.SHA2_384, HashAlgorithm.SHA2_256)

HOSTS = "conn a\n\tleft=192.1.2.45\n\tright=192.1.2.23\n"
CONN = HOSTS + "\tauthby=ecdsa\n\tleftcert=certs/west.pem\n"


def pem(*holders: Holder) -> bytes:
    return b"".join(holder.certificate.public_bytes(Encoding.PEM) for holder in holders)


def key_pem(holder: Holder) -> bytes:
    return holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encoded(key: PublicKey) -> str:
    """A public key as ipsec.conf has it."""
    return "0s" + b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with every file that a test may name, but for ipsec.conf and ipsec.secrets."""
    content = {
        "certs/west.pem": pem(WEST, MIDDLE, ROOT),
        "certs/east.pem": b"the certificate of east:\n" + pem(EAST),
        "certs/old.pem": pem(OLD),
        "certs/west.der": WEST.certificate.public_bytes(Encoding.DER),
        "certs/text.pem": b"no certificate",
        "certs/broken.pem": pem(WEST).replace(b"MII", b"AAA", 1),
        "other.pem": pem(OTHER),
        "ipsec.d/cacerts/root.pem": pem(ROOT),
        "ipsec.d/cacerts/README": b"Authorities go here.",
        "ipsec.d/crls/root.crl": crl(ROOT, EAST).public_bytes(Encoding.DER),
        "lists/root.pem": crl(ROOT, EAST).public_bytes(Encoding.PEM),
        "west.key": key_pem(WEST),
        "east.key": key_pem(EAST),
        "old.key": key_pem(OLD),
        "locked.key": WEST.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
    }
    for name, data in content.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)
    return tmp_path


@pytest.fixture
def read(files: Path) -> Callable[..., tuple[Config, Credentials]]:
    """Read both files, given as text."""

    def read(conf: str, secrets: str = ": PKCS8 west.key\n") -> tuple[Config, Credentials]:
        (files / "ipsec.conf").write_text(conf)
        (files / "ipsec.secrets").write_text(secrets)
        (files / "ipsec.secrets").chmod(0o600)
        config = load(files / "ipsec.conf")
        return config, load_credentials(config, files / "ipsec.secrets", NOW)

    return read


@pytest.fixture
def mistake(read: Callable[..., object], files: Path) -> Callable[..., str]:
    """The only mistake in both files, without the directory in front of file names."""

    def mistake(conf: str, secrets: str = ": PKCS8 west.key\n") -> str:
        with pytest.raises(ConfigErrors) as caught:
            read(conf, secrets)
        (error,) = caught.value.errors
        return str(error).replace(f"{files}/", "")

    return mistake


Read = Callable[..., tuple[Config, Credentials]]
Mistake = Callable[..., str]


def connection(config: Config, address: str = "192.1.2.45") -> Connection:
    return config.connections[0].connection(frozenset({ip_address(address)}))


def test_a_certificate_with_what_lies_between_it_and_a_trusted_authority(read: Read) -> None:
    config, credentials = read(CONN)
    conn = connection(config)
    assert conn.local.certificates == (WEST.certificate, MIDDLE.certificate)
    assert conn.local.identity == Identity(IdType.DER_ASN1_DN, WEST.certificate.subject.public_bytes())
    assert conn.local.auth == conn.remote.auth == Authby(signatures=SignaturePolicy(SHA2, (Kind.ECDSA,)))
    assert (conn.remote.certificates, conn.remote.identity) == ((), Identity.parse("192.1.2.23"))
    assert credentials.store.anchors == (ROOT.certificate,)
    assert [len(each) for each in credentials.revocation.lists] == [1]
    assert credentials.key_for(WEST.key.public_key()) is not None
    assert not credentials.revocation.crl_strict


def test_directories_of_ones_own(read: Read, files: Path) -> None:
    (files / "empty").mkdir()
    setup = "config setup\n\tcacerts=certs\n\tcrls=lists\n\tcrl-strict=yes\n"
    for name in ("text.pem", "broken.pem"):
        (files / "certs" / name).unlink()
    _, credentials = read(setup + CONN)
    assert set(credentials.store.anchors) == {h.certificate for h in (WEST, MIDDLE, ROOT, EAST, OLD)}
    assert (len(credentials.revocation.lists), credentials.revocation.crl_strict) == (1, True)


@pytest.mark.parametrize(
    ("lines", "identity", "from_certificate"),
    [
        ("\trightid=%fromcert\n", None, True),
        ("\trightid=@east\n", Identity.parse("@east"), False),
        ('\trightid="C=CA, CN=*"\n', Identity.parse("C=CA, CN=*"), False),
        ("\trightcert=certs/east.pem\n", Identity.parse("C=CA, O=Test, CN=east"), False),
        ("\trightcert=certs/east.pem\n\trightid=@east\n", Identity.parse("@east"), False),
    ],
)
def test_who_the_peer_must_be(read: Read, lines: str, identity: Identity | None, from_certificate: bool) -> None:
    remote = connection(read(CONN + lines)[0]).remote
    assert str(remote.identity) == str(identity)
    assert remote.from_certificate is from_certificate


@pytest.mark.parametrize(
    ("value", "anchors"),
    [('"C=CA, O=*, CN=Root"', [ROOT]), ("other.pem", [OTHER]), ("%any", [])],
)
def test_authorities_of_one_connection(read: Read, value: str, anchors: list[Holder]) -> None:
    remote = connection(read(f"{CONN}\trightca={value}\n")[0]).remote
    assert remote.anchors == tuple(holder.certificate for holder in anchors)


@pytest.mark.parametrize("keyword", ["pubkey", "ecdsakey", "rsasigkey", "eddsakey"])
def test_keys_without_certificates(read: Read, keyword: str) -> None:
    kind = {"rsasigkey": "rsa", "eddsakey": "ed25519"}.get(keyword, "p256")
    theirs = new_key(kind).public_key()
    coded = encoded(theirs)
    config, _ = read(f"{HOSTS}\tauthby=pubkey\n\tleftcert=certs/west.pem\n\tright{keyword}={coded}\n")
    assert connection(config).remote.public_key == theirs


def test_the_key_of_the_certificate(read: Read) -> None:
    config, _ = read(f"{CONN}\tleftrsasigkey=%cert\n\trightrsasigkey=%cert\n")
    assert (connection(config).local.public_key, connection(config).remote.public_key) == (None, None)


def test_either_end_may_be_this_host(read: Read) -> None:
    config, _ = read(f"{CONN}\trightcert=certs/east.pem\n\tleftsendcert=sendifasked\n", ": ECDSA east.key\n")
    here = connection(config, "192.1.2.23")
    assert (here.local.certificates, here.remote.send_certificate) == ((EAST.certificate,), SendCert.IF_ASKED)


def test_each_end_in_its_own_way(read: Read) -> None:
    config, _ = read(HOSTS + "\tleftauth=secret\n\trightauth=eddsa,null\n", ': PSK "x"\n')
    conn = connection(config)
    assert conn.local.auth == Authby(secret=True)
    eddsa = SignaturePolicy((HashAlgorithm.IDENTITY,), (Kind.ED25519, Kind.ED448))
    assert conn.remote.auth == Authby(null=True, signatures=eddsa)


def test_one_that_does_not_authenticate_has_no_name(read: Read) -> None:
    conn = connection(read(HOSTS + "\tleftauth=null\n\trightauth=ecdsa\n")[0])
    assert conn.local.identity is None
    assert conn.remote.identity == Identity.parse("192.1.2.23")


@pytest.mark.parametrize(
    ("words", "kinds", "hashes"),
    [
        ("rsasig", (Kind.RSA_PSS, Kind.RSA_PKCS1), SHA2),
        ("RSA-SHA2", (Kind.RSA_PSS,), SHA2),
        ("rsa-sha2_384", (Kind.RSA_PSS,), (HashAlgorithm.SHA2_384,)),
        ("rsa-sha1", (Kind.RSA_PKCS1,), (HashAlgorithm.SHA1,)),
        ("ecdsa-sha2_256,rsa-sha2_512", (Kind.RSA_PSS, Kind.ECDSA), SHA2[::2]),
        ("pubkey", tuple(Kind), (*SHA2, HashAlgorithm.IDENTITY)),
    ],
)
def test_words_for_signatures(
    read: Read, words: str, kinds: tuple[Kind, ...], hashes: tuple[HashAlgorithm, ...]
) -> None:
    config, _ = read(f'{HOSTS}\tauthby="{words}"\n\tleftcert=certs/west.pem\n')
    policy = connection(config).local.auth.signatures
    assert policy is not None
    assert (set(policy.kinds), policy.hashes) == (set(kinds), hashes)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("leftcert=nowhere.pem", "leftcert=nowhere.pem: cannot read nowhere.pem: No such file or directory"),
        ("leftcert=certs/text.pem", "leftcert=certs/text.pem: certs/text.pem: a certificate that cannot be read"),
        ("leftcert=west.key", "leftcert=west.key: there is no certificate in west.key"),
        ("leftcert=certs/broken.pem", "leftcert=certs/broken.pem: certs/broken.pem: a certificate that cannot be read"),
        ("leftca=nowhere.pem", "leftca=nowhere.pem: cannot read nowhere.pem: No such file or directory"),
        ('leftca="C=CA, CN=x"', "leftca=C=CA, CN=x: there is no such authority among the trusted ones"),
        ('leftca="C=CA, x"', "leftca=C=CA, x: 'x' is not TYPE=value with a TYPE of"),
        ("leftsendcert=maybe", "leftsendcert=maybe: must be one of always, yes, sendifasked, ifasked, never, no"),
        ("leftpubkey=0sAAAA", "leftpubkey=0sAAAA: must be a public key or %cert; this is neither PEM nor base64"),
        ("leftauth=rsa", "leftauth=rsa: must be one or more of secret, null, eap-mschapv2, eap-tls, rsasig"),
    ],
)
def test_mistakes_in_the_line_that_makes_them(mistake: Mistake, line: str, told: str) -> None:
    assert mistake(f"{HOSTS}\tauthby=ecdsa\n\t{line}\n").startswith(f"ipsec.conf:5: conn a: {told}")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            "\tauthby=secret\n\tleftcert=certs/west.pem\n",
            "leftid=%fromcert, leftcert= and keys are for signatures: see authby=",
        ),
        (
            "\tauthby=secret\n\trightid=%fromcert\n",
            "rightid=%fromcert, rightcert= and keys are for signatures: see authby=",
        ),
        (
            "\tauthby=ecdsa\n",
            "leftcert= is missing: give the file of a certificate, or authby=secret for a preshared key",
        ),
    ],
)
def test_mistakes_of_a_whole_conn(mistake: Mistake, lines: str, told: str) -> None:
    assert mistake(HOSTS + lines).endswith(f": {told}")


def test_a_certificate_and_a_key_exclude_each_other(mistake: Mistake) -> None:
    coded = encoded(EAST.key.public_key())
    told = "conn a: left: cert, pubkey, rsasigkey, ecdsakey and eddsakey exclude each other"
    assert told in mistake(f"{CONN}\tleftpubkey={coded}\n")


def test_no_authority_is_trusted(mistake: Mistake, files: Path) -> None:
    (files / "ipsec.d/cacerts/root.pem").unlink()
    assert mistake(CONN) == (
        "ipsec.conf:1: conn a: no authority is trusted to say who right is: "
        "put its certificate into the directory of cacerts=, or name its file with rightca="
    )


@pytest.mark.parametrize("secrets", ["", ": PKCS8 old.key\n"])
def test_no_key_fits_the_certificate(mistake: Mistake, secrets: str) -> None:
    assert mistake(CONN, secrets) == (
        "ipsec.conf:5: conn a: no private key is for this certificate or key of left: "
        "put a line ': PKCS8 FILE' into ipsec.secrets"
    )
    assert mistake(CONN.replace("left", "L").replace("right", "left").replace("L", "right"), secrets).startswith(
        "ipsec.conf:5: conn a: no private key is for this certificate or key of right"
    )


def test_unusable_directories(mistake: Mistake, files: Path) -> None:
    setup = "config setup\n\tcacerts=nowhere\n"
    assert mistake(setup + CONN) == (
        "ipsec.conf:2: config setup: cacerts=nowhere: cannot read nowhere: No such file or directory"
    )
    (files / "ipsec.d/cacerts/new.pem").write_text("nothing")
    assert mistake(CONN) == "ipsec.d/cacerts/new.pem: a certificate that cannot be read"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (": RSA nowhere.key", "RSA nowhere.key: cannot read nowhere.key: No such file or directory"),
        (": RSA west.key", "RSA west.key: the key in it is of another kind; PKCS8 is for any"),
        (": EDDSA west.key", "EDDSA west.key: the key in it is of another kind; PKCS8 is for any"),
        (": ECDSA certs/west.pem", "ECDSA certs/west.pem: not an unencrypted private key in PEM"),
        (": PKCS8 locked.key", "PKCS8 locked.key: not an unencrypted private key in PEM"),
        (": PKCS8", "the file name is missing"),
        (": PKCS8 locked.key x", "there is more than the file name: put one that has blanks in quotes"),
    ],
)
def test_mistakes_with_private_keys(mistake: Mistake, line: str, told: str) -> None:
    assert mistake(CONN, f"# keys\n{line}\n") == f"ipsec.secrets:2: {told}"


def test_too_large_a_file(mistake: Mistake, files: Path) -> None:
    (files / "certs/west.pem").write_bytes(b" " * ((1 << 20) + 1))
    assert mistake(CONN).endswith("certs/west.pem: it is larger than 1048576 bytes")


def test_expired_certificates_are_told_in_the_log(read: Read, caplog: pytest.LogCaptureFixture, files: Path) -> None:
    read(CONN.replace("west.pem", "old.pem"), ": ECDSA old.key\n")
    assert f"{files}/ipsec.conf:5: the certificate of C=CA, O=Test, CN=old is valid from 2026-05-29 to" in caplog.text


def test_exposed_keys_are_told_in_the_log(read: Read, caplog: pytest.LogCaptureFixture, files: Path) -> None:
    (files / "west.key").chmod(0o644)
    read(CONN)
    assert f"chmod 600 {files}/west.key" in caplog.text


def test_keys_are_not_printed(read: Read, files: Path) -> None:
    _, credentials = read(CONN)
    for shown in (repr(credentials), repr(load_secrets(files / "ipsec.secrets"))):
        assert "PrivateKey" not in shown
