"""A daemon that fetches the list of an authority: a peer whose certificate was revoked is not let in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ikeclone.control.models import Up
from ikeclone.demo.daemons import DaemonProcess, start_together
from ikeclone.demo.namespaces import Namespace, end
from ikeclone.demo.tunnel import CONNECTION, EASTNET, hosts
from ikeclone.demo.waiting import wait_until
from ikeclone.errors import ControlError
from tests.unit.pki.authority import DAY, Holder, alternative, points, root
from tests.unit.pki.test_revocation import crl

pytestmark = pytest.mark.root

NOW = datetime.now(UTC)
VALIDITY = NOW - DAY, NOW + DAY
LIST = f"http://{EASTNET}:8000/root.crl"
ROOT = root(validity=VALIDITY)
CONF = f"""\
config setup
    crlcheckinterval=1h
    crl-strict=yes
conn {CONNECTION}
    leftid=@west
    left=192.1.2.45
    leftsubnet=192.0.1.0/24
    rightid=@east
    right=192.1.2.23
    rightsubnet=192.0.2.0/24
    authby=ecdsa
    auto=add
"""


def issue(name: str) -> Holder:
    """A certificate for a host name, which says where its authority's list is."""
    names = alternative(x509.DNSName(name))
    return ROOT.issue(f"CN={name}", names, points(LIST), validity=VALIDITY)


class Hosts:
    """West and east with certificates, and a web server of east's that has the list."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self._namespaces = dict(zip(("west", "east"), stack.enter_context(hosts()), strict=True))
        self._web = directory / "web"
        self._web.mkdir()
        self.holders = {name: issue(name) for name in self._namespaces}

    def serve(self, *revoked: Holder) -> None:
        """Have the list on the network, with these in it."""
        found = crl(ROOT, *revoked, begins=VALIDITY[0], ends=VALIDITY[1])
        (self._web / "root.crl").write_bytes(found.public_bytes(Encoding.DER))
        command = (sys.executable, "-m", "http.server", "8000", "--bind", EASTNET, "--directory", self._web)
        server = self._namespaces["east"].start(*command, stdout=subprocess.DEVNULL)
        self._stack.callback(end, server)
        wait_until(lambda: self._listens(self._namespaces["east"]), 30, "the web server")

    @staticmethod
    def _listens(namespace: Namespace) -> bool:
        return f"{EASTNET}:8000" in namespace.run("ss", "-ltn")

    def start(self) -> None:
        """Start both daemons; the list that east will need is not fetched in advance by west."""
        self.west, self.east = (self._daemon(name) for name in ("west", "east"))
        start_together(self.west, self.east)

    def _daemon(self, name: str) -> DaemonProcess:
        directory, holder = self._directory / name, self.holders[name]
        cacerts = directory / "ipsec.d" / "cacerts"
        cacerts.mkdir(parents=True)
        (cacerts / "root.pem").write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
        (directory / "own.pem").write_bytes(holder.certificate.public_bytes(Encoding.PEM))
        key = holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / "own.key").touch(mode=0o600)
        (directory / "own.key").write_bytes(key)
        side = "left" if name == "west" else "right"
        conf = CONF + f"    {side}cert=own.pem\n"
        if name == "west":
            conf = conf.replace("crl-strict=yes", "crl-strict=no").replace("crlcheckinterval=1h", "crlcheckinterval=0")
        daemon = DaemonProcess(self._namespaces[name], directory, conf, ": PKCS8 own.key\n")
        self._stack.callback(daemon.stop)
        return daemon


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(tmp_path, stack)


def test_a_peer_in_good_standing_is_let_in(both: Hosts) -> None:
    both.serve(issue("somebody"))
    both.start()
    both.west.call(Up(name=CONNECTION))
    assert len(both.west.traffic()) == 1


def test_a_peer_whose_certificate_was_revoked_is_not(both: Hosts) -> None:
    both.serve(both.holders["west"])
    both.start()
    with pytest.raises(ControlError, match="AUTHENTICATION_FAILED"):
        both.west.call(Up(name=CONNECTION))
    assert "the certificate of CN=west was revoked" in both.east.log.read_text()
    assert both.west.traffic() == both.east.traffic() == {}


def test_without_the_list_strict_lets_nobody_in(both: Hosts) -> None:
    both.start()
    with pytest.raises(ControlError, match="AUTHENTICATION_FAILED"):
        both.west.call(Up(name=CONNECTION))
    assert "nothing current says otherwise" in both.east.log.read_text()
    assert f"{LIST}: [Errno 111] Connection refused" in both.east.log.read_text()
