"""Libreswan as the peer: pluto in the Debian root, with the kernel's ESP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.waiting import wait_until
from interop.swanctl import SECRET, End

IPSEC_CONF = """\
config setup
    logfile={run}/pluto.log
    nssdir={run}/nss
    ipsecdir={run}
conn gw
    {settings}
"""
CHILD = re.compile(r'^#(\d+): "gw", type=ESP, add_time=\d+, inBytes=(\d+), outBytes=(\d+)', re.MULTILINE)
IKE_SA = re.compile(r'^#(\d+): "gw":\d+ ESTABLISHED_IKE_SA', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LibreswanChild:
    """An established Child SA: pluto's number of it, and the octets that it carried."""

    serial: int
    in_octets: int
    out_octets: int


class Libreswan:
    """One pluto in one namespace. It ends with the namespace; its log lies in `logs`."""

    def __init__(self, namespace: Namespace, root: Path, local: End, remote: End, logs: Path) -> None:
        self.namespace, self.root, self.local, self.remote, self.logs = namespace, root, local, remote, logs
        # As pluto sees it, and as we do.
        self._run = Path("/run") / local.name
        self._outside = root / "run" / local.name

    def begin(self, settings: Mapping[str, str | None]) -> None:
        """Write the connection `gw` with these settings too, or with None without one, and start pluto."""
        (self._outside / "nss").mkdir(parents=True)
        wanted = {name: value for name, value in (self._usual() | dict(settings)).items() if value is not None}
        lines = "\n    ".join(f"{name}={value}" for name, value in wanted.items())
        (self._outside / "ipsec.conf").write_text(IPSEC_CONF.format(run=self._run, settings=lines))
        (self._outside / "ipsec.secrets").write_text(f'@west @east : PSK "{SECRET}"\n')
        self._inside("certutil", "-N", "--empty-password", "-d", f"sql:{self._run}/nss")
        self.start()

    def _usual(self) -> dict[str, str | None]:
        return {
            "keyexchange": "ikev2",
            "authby": "secret",
            "left": self.local.address,
            "leftid": f"@{self.local.name}",
            "leftsubnet": self.local.net,
            "right": self.remote.address,
            "rightid": f"@{self.remote.name}",
            "rightsubnet": self.remote.net,
            "ike": "aes128-sha2_256-dh31",
            "esp": "aes_gcm_c_128",
        }

    def start(self) -> None:
        """Start pluto, which was not there or has ended, and load the connection."""
        control = self._outside / "pluto.ctl"
        control.unlink(missing_ok=True)
        places: list[str | Path] = ["--rundir", self._run, "--config", self._run / "ipsec.conf"]
        places += ["--secretsfile", self._run / "ipsec.secrets", "--nssdir", self._run / "nss", "--ipsecdir", self._run]
        with (self.logs / f"{self.local.name}.pluto.err").open("a") as errors:
            pluto = ["/usr/libexec/ipsec/pluto", "--nofork", *places]
            self.process = self.namespace.start("chroot", self.root, *pluto, stdout=errors)
        wait_until(control.is_socket, 20, "Libreswan's control socket")
        self.whack("--listen")
        add = ("--config", str(self._run / "ipsec.conf"), "--ctlsocket", str(self._run / "pluto.ctl"), "gw")
        self._inside("/usr/libexec/ipsec/addconn", *add)

    def whack(self, *arguments: str, check: bool = True) -> str:
        """Run whack and return its output; raises CalledProcessError when it fails and `check` is set."""
        return self._inside("/usr/libexec/ipsec/whack", "--rundir", str(self._run), *arguments, check=check)

    def initiate(self) -> None:
        """Bring the connection up; one that is up gets one more Child SA."""
        self.whack("--name", "gw", "--initiate")

    def terminate(self) -> None:
        self.whack("--name", "gw", "--terminate")

    def rekey_child(self) -> None:
        """Rekey the newest Child SA."""
        self.whack("--name", "gw", "--rekey-child")

    def rekey_ike(self) -> None:
        self.whack("--name", "gw", "--rekey-ike")

    def delete_child(self, serial: int) -> None:
        self.whack("--deletestate", str(serial))

    def children(self) -> list[LibreswanChild]:
        """The established Child SAs, the oldest first."""
        found = CHILD.findall(self.whack("--trafficstatus"))
        return [LibreswanChild(*(int(number) for number in row)) for row in found]

    def ike_sas(self) -> list[int]:
        """pluto's numbers of the established IKE SAs."""
        return [int(serial) for serial in IKE_SA.findall(self.whack("--showstates"))]

    def kill(self) -> None:
        """End it without a word to the peer; it can be started again."""
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        return (self._outside / "pluto.log").read_text(errors="replace")

    def collect(self) -> None:
        """Keep the log and the configuration beside the capture."""
        for name in ("pluto.log", "ipsec.conf"):
            if (self._outside / name).exists():
                (self.logs / f"{self.local.name}.{name}").write_bytes((self._outside / name).read_bytes())

    def _inside(self, *command: str, check: bool = True) -> str:
        return self.namespace.run("chroot", self.root, *command, check=check)
