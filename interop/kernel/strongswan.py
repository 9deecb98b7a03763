"""strongSwan as the peer, with the kernel's ESP."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ikeclone.demo.waiting import wait_until
from interop.kernel.cpus import CPUS, seeing
from interop.strongswan import StrongSwan
from interop.swanctl import SECRET

STRONGSWAN_CONF = """\
charon-systemd {{
  load = random nonce openssl pem pkcs1 x509 pubkey kdf hmac gcm aes sha2 ctr kernel-netlink socket-default vici
  install_routes = no
  plugins {{ vici {{ socket = unix://{run}/vici }} }}
  filelog {{ log {{
    path = {run}/charon.log
    time_format = %T
    flush_line = yes
    default = 1
    cfg = 2
    ike = 2
    knl = 2
  }} }}
  journal {{ default = -1 }}
  syslog {{ daemon {{ default = -1 }} auth {{ default = -1 }} }}
}}
swanctl {{ load = random openssl pem }}
"""
SWANCTL_CONF = """\
connections {{ gw {{
  version = 2
  mobike = no
  {connection}
  local_addrs = {local.address}
  remote_addrs = {remote.address}
  proposals = aes128-sha256-x25519
  local {{ auth = psk
    id = {local.name} }}
  remote {{ auth = psk
    id = {remote.name} }}
  children {{ net {{
      local_ts = {local.net}
      remote_ts = {remote.net}
      esp_proposals = aes128gcm16-x25519
      {child}
  }} }}
}} }}
secrets {{ ike-1 {{ id-1 = {local.name}
  id-2 = {remote.name}
  secret = "{secret}" }} }}
"""


class KernelStrongSwan(StrongSwan):
    """One charon, started by `begin`."""

    def begin(self, child: Mapping[str, str], connection: Mapping[str, str], cpus: Collection[int] = CPUS) -> None:
        """Start charon and load the connection `gw` with its child `net`; both get these settings too.

        Only `cpus` are online to charon.
        """
        self._outside.mkdir(exist_ok=True)
        (self._outside / "vici").unlink(missing_ok=True)
        settings = {"child": _lines(child), "connection": _lines(connection)}
        conf = SWANCTL_CONF.format(local=self.local, remote=self.remote, secret=SECRET, **settings)
        (self._outside / "swanctl.conf").write_text(conf)
        (self._outside / "strongswan.conf").write_text(STRONGSWAN_CONF.format(run=self._run))
        with (self.logs / f"{self.local.name}.strongswan.err").open("w") as errors:
            charon = (*seeing(cpus, self.root), *self._inside("/usr/sbin/charon-systemd"))
            self.process = self.namespace.start(*charon, stdout=errors)
        wait_until((self._outside / "vici").is_socket, 20, "strongSwan's control socket")
        self.swanctl("--load-all", "--file", str(self._run / "swanctl.conf"))

    def end(self) -> None:
        """Have it end in order; another can be started."""
        self.process.terminate()
        self.process.wait(30)


def _lines(settings: Mapping[str, str]) -> str:
    return "\n      ".join(f"{name} = {value}" for name, value in settings.items())
