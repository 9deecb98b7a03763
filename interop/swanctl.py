"""strongSwan's configuration as text: strongswan.conf, and the sections of swanctl.conf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PLUGINS = (
    "random nonce openssl pem pkcs1 pkcs8 x509 pubkey kdf hmac gcm aes sha1 sha2 ctr ccm chapoly xcbc cmac "
    "eap-identity eap-mschapv2 eap-tls kernel-libipsec kernel-netlink socket-default vici"
)
STRONGSWAN_CONF = """\
charon-systemd {{
  load = {plugins}
  threads = 16
  {options}
  tls {{ {tls} }}
  plugins {{ vici {{ socket = unix://{run}/vici }} }}
  filelog {{ log {{
    path = {run}/charon.log
    time_format = %T
    flush_line = yes
    ike_name = yes
    default = 1
    cfg = 2
    ike = 2
  }} }}
  journal {{ default = -1 }}
  syslog {{ daemon {{ default = -1 }} auth {{ default = -1 }} }}
}}
swanctl {{ load = random openssl pem pkcs8 x509 }}
"""
SWANCTL_CONF = """\
connections {{ {connections} }}
secrets {{ {secrets} }}
pools {{ {pools} }}
"""
CONNECTION_CONF = """\
{name} {{
  version = 2
  mobike = no
  encap = yes
  local_addrs = {local.address}
  remote_addrs = {remote.address}
  local {{ id = {local.name}
    {local_auth} }}
  remote {{ id = {remote.name}
    {remote_auth} }}
  {connection}
  children {{ {child_name} {{
      {child}
  }} {others} }}
}}
"""
SECRET = "lab-secret-of-16-bytes"  # noqa: S105  only ever a lab's
CONNECTION = {"proposals": "aes128-sha256-x25519"}
CHILD = {"esp_proposals": "aes128gcm16-x25519"}

# What `local` and `remote` of a connection say of authentication.
Ways = tuple[Mapping[str, str], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class End:
    """One end of the tunnel: its name is its identity, `inner` its address in its own network `net`."""

    name: str
    address: str
    inner: str
    net: str


def strongswan_conf(run: Path, options: Mapping[str, str], tls: Mapping[str, str]) -> str:
    """Charon's own settings, and more of these; its files are in `run`."""
    return STRONGSWAN_CONF.format(plugins=PLUGINS, run=run, options=_lines(options), tls=_lines(tls))


def swanctl_conf(connections: Iterable[str], secrets: str, pools: Mapping[str, Mapping[str, str]]) -> str:
    """The whole of swanctl.conf."""
    named = "".join(f"{name} {{ {_lines(pool)} }}\n" for name, pool in pools.items())
    return SWANCTL_CONF.format(connections="".join(connections), secrets=secrets, pools=named)


def connection_conf(
    name: str,
    ends: tuple[End, End],
    ways: Ways,
    connection: Mapping[str, str],
    child: Mapping[str, str],
    second: Mapping[str, str],
) -> str:
    """A connection of ours to the peer, with these settings, with a child of its name, or `net`, and maybe a second."""
    local, remote = ends
    networks = {"local_ts": local.net, "remote_ts": remote.net}
    return CONNECTION_CONF.format(
        name=name,
        local=local,
        remote=remote,
        local_auth=_lines(ways[0]),
        remote_auth=_lines(ways[1]),
        connection=_lines(CONNECTION | dict(connection)),
        child_name="net" if name == "gw" else name,
        child=_lines(CHILD | networks | dict(child)),
        others=f"second {{ {_lines(CHILD | dict(second))} }}" if second else "",
    )


def secrets_conf(ends: tuple[End, End], ways: Iterable[Ways], secret: str, users: Mapping[str, str]) -> str:
    """The preshared key of all identities that are named, and the passwords of users."""
    others = (way["id"] for pair in ways for way in pair if "id" in way)
    names = [end.name for end in ends] + list(others)
    identities = "\n  ".join(f"id-{number} = {name}" for number, name in enumerate(names))
    passwords = (f'eap-{user} {{ id = {user}\n  secret = "{text}" }}\n' for user, text in users.items())
    return f'ike-1 {{ {identities}\n  secret = "{secret}" }}\n' + "".join(passwords)


def _lines(settings: Mapping[str, str]) -> str:
    return "\n  ".join(f"{name} = {value}" for name, value in settings.items())
