"""A daemon that asks the OCSP responder of OpenSSL about its peer, which has a certificate for each of its names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from ikeclone.control.models import Down, Up
from ikeclone.demo.daemons import DaemonProcess
from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.tunnel import EAST, hosts
from ikeclone.demo.waiting import wait_until
from ikeclone.errors import ControlError
from tests.unit.pki.authority import DAY, Holder, alternative, responders, root

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NOW = datetime.now(UTC)
VALIDITY = NOW - DAY, NOW + DAY
ROOT = root(validity=VALIDITY)
# Where the certificate of each of east's names says that its responder is. The last one hears, and does not answer.
RESPONDERS = {
    "good": f"http://{EAST}:8000",
    "revoked": f"http://{EAST}:8000/",
    "refusing": f"http://{EAST}:8001",
    "silent": f"http://{EAST}:8002",
}
SILENT = "import socket, time; server = socket.create_server(('', 8002)); time.sleep(600)"
SETUP = "config setup\n    ocsp-enable=yes\n    ocsp-strict={strict}\n    ocsp-timeout=3s\n"
CONF = """\
conn {name}
    leftid=@west
    left=192.1.2.45
    leftsubnet=192.0.1.0/24
    rightid=@{name}
    right=192.1.2.23
    rightsubnet=192.0.2.0/24
    authby=ecdsa
    auto=add
    {cert}
"""


def issue(name: str, *extensions: x509.ExtensionType) -> Holder:
    return ROOT.issue(f"CN={name}", alternative(x509.DNSName(name)), *extensions, validity=VALIDITY)


HOLDERS = {name: issue(name, responders(address)) for name, address in RESPONDERS.items()}


def write(directory: Path, name: str, holder: Holder) -> None:
    """NAME.pem and NAME.key."""
    (directory / f"{name}.pem").write_bytes(holder.certificate.public_bytes(Encoding.PEM))
    (directory / f"{name}.key").touch(mode=0o600)
    key = holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / f"{name}.key").write_bytes(key)


def index() -> str:
    """What `openssl ca` would know of the certificates."""
    lines = []
    for name, holder in HOLDERS.items():
        date, serial = f"{VALIDITY[1]:%y%m%d%H%M%SZ}", f"{holder.certificate.serial_number:X}"
        state, revoked = ("R", f"{NOW:%y%m%d%H%M%SZ}") if name == "revoked" else ("V", "")
        even = serial.zfill(len(serial) + len(serial) % 2)
        lines.append(f"{state}\t{date}\t{revoked}\t{even}\tunknown\t/CN={name}\n")
    return "".join(lines)


def serve(east: Namespace, directory: Path) -> None:
    """Start the responder, which the authority has appointed."""
    (directory / "index").write_text(index())
    write(directory, "root", ROOT)
    appointed = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])
    write(directory, "responder", ROOT.issue("CN=responder", appointed, validity=VALIDITY))
    signer = ("-rsigner", directory / "responder.pem", "-rkey", directory / "responder.key")
    files = ("-index", directory / "index", "-CA", directory / "root.pem", *signer)
    with (directory / "openssl.log").open("w") as log:
        east.start("openssl", "ocsp", "-port", "8000", *files, stdout=log)
    east.start(sys.executable, "-c", SILENT)
    wait_until(lambda: all(port in east.run("ss", "-ltn") for port in (":8000", ":8002")), 30, "both responders")


def start(namespace: Namespace, directory: Path, names: tuple[str, ...], setup: str = "") -> DaemonProcess:
    """A daemon with certificates for these names of its host."""
    (directory / "ipsec.d" / "cacerts").mkdir(parents=True)
    write(directory / "ipsec.d" / "cacerts", "root", ROOT)
    for name in names:
        write(directory, name, HOLDERS.get(name) or issue(name))
    certs = {name: "leftcert=west.pem" if names == ("west",) else f"rightcert={name}.pem" for name in RESPONDERS}
    conf = setup + "".join(CONF.format(name=name, cert=cert) for name, cert in certs.items())
    daemon = DaemonProcess(namespace, directory, conf, "".join(f": PKCS8 {name}.key\n" for name in names))
    daemon.start()
    return daemon


class Hosts:
    """East, with its responder and its names; `west` is a daemon that asks, anew with each `start`."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._west, self._east = stack.enter_context(hosts())
        (directory / "web").mkdir()
        serve(self._east, directory / "web")
        stack.callback(start(self._east, directory / "east", tuple(RESPONDERS)).stop)

    @contextmanager
    def asking(self, strict: bool) -> Iterator[DaemonProcess]:
        answer = "yes" if strict else "no"
        west = start(self._west, self._directory / answer, ("west",), SETUP.format(strict=answer))
        yield west
        assert west.stop() == 0


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(tmp_path_factory.mktemp("ocsp"), stack)


def up(west: DaemonProcess, name: str) -> str:
    """What keeps a connection from coming up; empty if nothing does."""
    try:
        west.call(Up(name=name))
    except ControlError as error:
        return str(error)
    assert [row.connection for row in west.traffic().values()] == [name]
    west.call(Down(name=name))
    return ""


def test_strict_lets_only_those_in_for_whom_a_responder_speaks(both: Hosts) -> None:
    with both.asking(strict=True) as west:
        assert up(west, "good") == ""
        assert "the certificate of CN=revoked was revoked" in up(west, "revoked")
        assert "no OCSP responder speaks for the certificate of CN=refusing" in up(west, "refusing")
        assert "no OCSP responder speaks for the certificate of CN=silent" in up(west, "silent")
    log = west.log.read_text()
    assert "http://192.1.2.23:8001: [Errno 111] Connection refused" in log
    assert "http://192.1.2.23:8002: no answer within 3 seconds" in log


def test_otherwise_only_those_are_kept_out_that_were_revoked(both: Hosts) -> None:
    with both.asking(strict=False) as west:
        assert up(west, "good") == ""
        assert "the certificate of CN=revoked was revoked" in up(west, "revoked")
        assert up(west, "refusing") == up(west, "silent") == ""
