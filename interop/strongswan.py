"""strongSwan as the peer: charon-systemd in the Debian root, with its ESP in user space (kernel-libipsec)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.waiting import wait_until
from interop.authority import Papers
from interop.swanctl import SECRET, End, Ways, connection_conf, secrets_conf, strongswan_conf, swanctl_conf

PATH_LINES = re.compile(r"^  local  '.*' @ ([^ \[]+)\[\d+\].*\n  remote '.*' @ ([^ \[]+)\[\d+\]", re.MULTILINE)
IKE_LINE = re.compile(r"^\w+: #(\d+), (\w+),", re.MULTILINE)
CHILD_START = re.compile(r"^(?=  net: #)", re.MULTILINE)
CHILD_LINE = re.compile(r"  net: #(\d+), reqid \d+,(?: cpu (\d+|-),)? (\w+),")
TRAFFIC_LINE = re.compile(r"^    (in|out) .*?, +(\d+) bytes,", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SwanChild:
    """A Child SA as swanctl lists it; `cpu` is "-" for the fallback, empty without per-CPU SAs."""

    number: int
    state: str
    cpu: str
    octets: Mapping[str, int] = field(default_factory=dict)


class StrongSwan:
    """One charon in one namespace. It ends with the namespace; its log lies in `logs`."""

    def __init__(self, namespace: Namespace, root: Path, local: End, remote: End, logs: Path) -> None:
        self.namespace, self.root, self.local, self.remote, self.logs = namespace, root, local, remote, logs
        # As charon sees it, and as we do.
        self._run = Path("/run") / local.name
        self._outside = root / "run" / local.name
        self._local_auth = self._remote_auth = {"auth": "psk"}
        self._ppk = ""
        self._users: Mapping[str, str] = {}
        self._others: dict[str, Ways] = {}

    def certify(self, papers: Papers, peer: str = "pubkey", own: str = "pubkey") -> None:
        """Have us authenticate with a certificate from the next start on, and the peer too unless it is to be psk.

        Signatures are `pubkey`, eap-tls is another way for either.
        """
        self._local_auth, self._remote_auth = {"auth": own}, {"auth": peer}
        self._file("x509", own=papers.certificate, middle=papers.middle)
        self._file("x509ca", root=papers.root)
        self._file("private", own=papers.key)

    def know_ppk(self, name: str, key: str) -> None:
        """Have a postquantum preshared key from the next start on."""
        self._ppk = f'ppk-1 {{ id = {name}\n  secret = "{key}" }}'

    def serve_users(self, papers: Papers, users: Mapping[str, str]) -> None:
        """Have us authenticate with a certificate and the peer as one of these users, by their passwords, from the next
        start on."""
        self.certify(papers)
        self._remote_auth, self._users = {"auth": "eap-mschapv2", "eap_id": "%any"}, users

    def be_user(self, papers: Papers, user: str, password: str, others: Mapping[str, str] | None = None) -> None:
        """Have us authenticate as a user and the peer with a certificate of this authority, from the next start on.

        There is a connection of its own, named as the user, for each of the `others`, who have passwords too.
        """
        self._file("x509ca", root=papers.root)
        self._local_auth, self._remote_auth = {"auth": "eap-mschapv2", "eap_id": user}, {"auth": "pubkey"}
        self._others = {name: ({"eap_id": name}, {}) for name in others or ()}
        self._users = {user: password} | dict(others or {})

    def go_by(self, names: Mapping[str, tuple[str, str]]) -> None:
        """Have a connection more for each of these from the next start on, with a child of its name: who we say that we
        are, and who the peer must be."""
        self._others = {name: ({"id": f'"{mine}"'}, {"id": f'"{peers}"'}) for name, (mine, peers) in names.items()}

    def know_keys(self, papers: Papers, peer: Papers) -> None:
        """Have both hosts authenticate with keys that are known without certificates, from the next start on."""
        self._local_auth = {"auth": "pubkey", "pubkeys": "own.pem"}
        self._remote_auth = {"auth": "pubkey", "pubkeys": "peer.pem"}
        self._file("pubkey", own=papers.public, peer=peer.public)
        self._file("private", own=papers.key)

    def _file(self, folder: str, **files: bytes) -> None:
        """Put PEM where swanctl looks for it."""
        (self._outside / folder).mkdir(parents=True, exist_ok=True)
        for name, pem in files.items():
            (self._outside / folder / f"{name}.pem").write_bytes(pem)

    def start(
        self,
        *,
        secret: str = SECRET,
        connection: Mapping[str, str] | None = None,
        child: Mapping[str, str] | None = None,
        second: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        pools: Mapping[str, Mapping[str, str]] | None = None,
        tls: Mapping[str, str] | None = None,
    ) -> None:
        """Start charon and load the connection `gw` with its child `net`; the mappings add settings.

        With `second` there is one more child, of that name. `tls` is for EAP-TLS.
        """
        self._outside.mkdir(exist_ok=True)
        (self._outside / "vici").unlink(missing_ok=True)
        every = {"gw": ({}, {}), **self._others}
        ways = {
            name: (self._local_auth | dict(ours), self._remote_auth | dict(peers))
            for name, (ours, peers) in every.items()
        }
        connections = (
            connection_conf(name, (self.local, self.remote), way, connection or {}, child or {}, second or {})
            for name, way in ways.items()
        )
        secrets = secrets_conf((self.local, self.remote), ways.values(), secret, self._users) + self._ppk
        (self._outside / "swanctl.conf").write_text(swanctl_conf(connections, secrets, pools or {}))
        (self._outside / "strongswan.conf").write_text(strongswan_conf(self._run, options or {}, tls or {}))
        with (self.logs / f"{self.local.name}.strongswan.err").open("w") as errors:
            self.process = self.namespace.start(*self._inside("/usr/sbin/charon-systemd"), stdout=errors)
        wait_until((self._outside / "vici").is_socket, 10, "strongSwan's control socket")
        self.swanctl("--load-all", "--file", str(self._run / "swanctl.conf"))

    def swanctl(self, *arguments: str, check: bool = True) -> str:
        """Run swanctl and return its output; raises CalledProcessError when it fails and `check` is set."""
        return self.namespace.run(
            *self._inside("swanctl", *arguments, "--uri", f"unix://{self._run}/vici"), check=check, timeout=60
        )

    def initiate(self, check: bool = True, child: str = "net") -> str:
        return self.swanctl("--initiate", "--child", child, "--timeout", "20", check=check)

    def rekey_children(self) -> None:
        """Rekey every Child SA, one after the other."""
        for child in self.children():
            self.swanctl("--rekey", "--child-id", str(child.number))

    def rekey_ike(self) -> None:
        self.swanctl("--rekey", "--ike", "gw")

    def terminate_child(self, number: int) -> None:
        self.swanctl("--terminate", "--child-id", str(number))

    def terminate_ike(self, name: str = "gw") -> None:
        self.swanctl("--terminate", "--ike", name)

    def kill(self) -> None:
        """End it without a word to the peer; it can be started again."""
        self.process.kill()
        self.process.wait()

    def ike_sas(self) -> dict[int, str]:
        """The state of each IKE SA by strongSwan's number of it."""
        return {int(number): state for number, state in IKE_LINE.findall(self.swanctl("--list-sas"))}

    def paths(self) -> list[tuple[str, str]]:
        """The addresses of each IKE SA, its own first."""
        return PATH_LINES.findall(self.swanctl("--list-sas"))

    def children(self) -> list[SwanChild]:
        """The installed Child SAs, in the order of their numbers; those being deleted are left out."""
        _, *sections = CHILD_START.split(self.swanctl("--list-sas"))
        listed = [_child(section) for section in sections]
        return sorted((sa for sa in listed if sa.state == "INSTALLED"), key=lambda sa: sa.number)

    def log(self) -> str:
        return (self._outside / "charon.log").read_text(errors="replace")

    def collect(self) -> None:
        """Keep the log and the configuration beside the capture."""
        for name in ("charon.log", "swanctl.conf"):
            if (self._outside / name).exists():
                (self.logs / f"{self.local.name}.{name}").write_bytes((self._outside / name).read_bytes())

    def _inside(self, *command: str) -> list[str | os.PathLike[str]]:
        settings = f"STRONGSWAN_CONF={self._run}/strongswan.conf", f"SWANCTL_DIR={self._run}"
        return ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *settings, "chroot", self.root, *command]


def _child(section: str) -> SwanChild:
    head = CHILD_LINE.match(section)
    if head is None:
        raise ValueError(f"not a Child SA of strongSwan: {section!r}")
    octets = {direction: int(count) for direction, count in TRAFFIC_LINE.findall(section)}
    return SwanChild(int(head[1]), head[3], head[2] or "", octets)
