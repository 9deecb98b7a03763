"""West and east with certificates, each of its own kind and with any mistake that a test asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cryptography import x509

from ikeclone.connection import Authby, End
from ikeclone.credentials import Credentials
from ikeclone.crypto.signature import PrivateKey, PublicKey, SignaturePolicy
from ikeclone.ike.actions import Kind
from ikeclone.pki.standing import Policy
from ikeclone.pki.store import Store
from tests.pair.network import EAST_END, SECRET, WEST_END, Network, Side
from tests.unit.pki.authority import Holder, alternative, new_key, root

ROOT = root()
SIGNATURES = Authby(signatures=SignaturePolicy())


def issue(name: str, key: str = "p256", authority: Holder = ROOT) -> Holder:
    """A certificate for a host name."""
    return authority.issue(f"C=CA, O=Test, CN={name}", alternative(x509.DNSName(name)), key=new_key(key))


@dataclass(frozen=True)
class Host:
    """What one side has: `shown` is how it sees itself, `seen` how the other side sees it."""

    holder: Holder
    chain: tuple[x509.Certificate, ...] = ()
    anchors: tuple[x509.Certificate, ...] = (ROOT.certificate,)
    intermediates: tuple[x509.Certificate, ...] = ()
    lists: tuple[x509.CertificateRevocationList, ...] = ()
    strict: bool = False
    revocation: Policy | None = None
    shown: Mapping[str, object] = field(default_factory=dict)
    seen: Mapping[str, object] = field(default_factory=dict)

    def credentials(self) -> Credentials:
        store = Store(self.anchors, self.intermediates)
        return Credentials((SECRET,), (self.holder.key,), store, self.revocation or Policy(self.lists, self.strict))

    def local(self, end: End) -> End:
        certificates = (self.holder.certificate, *self.chain)
        return replace(end, **{"auth": SIGNATURES, "certificates": certificates, **self.shown})  # type: ignore[arg-type]

    def remote(self, end: End) -> End:
        return replace(end, **{"auth": SIGNATURES, **self.seen})  # type: ignore[arg-type]


def certified(west: Host | None = None, east: Host | None = None) -> Network:
    """A network of two hosts with certificates, by default without a mistake."""
    west, east = west or Host(issue("west")), east or Host(issue("east"))
    net = Network(
        west={"local": west.local(WEST_END), "remote": east.remote(EAST_END)},
        east={"local": east.local(EAST_END), "remote": west.remote(WEST_END)},
    )
    for side, host in ((net.west, west), (net.east, east)):
        side.credentials = host.credentials()
        side.start()
    return net


def attempt(net: Network, side: Side | None = None) -> Network:
    """Let a side bring the connection up, and see what comes of it."""
    (side or net.west).up()
    net.run(2)
    return net


def is_up(net: Network) -> bool:
    """Whether both sides have the same Child SA."""
    net.assert_consistent()
    return [len(side.children) for side in net.sides] == [1, 1]


def told(side: Side) -> str:
    """What a side reported of progress and failures."""
    return "\n".join(report.text for report in side.kinds(Kind.FAILED, Kind.PROGRESS, Kind.IKE_DOWN))


class Forger(Credentials):
    """Credentials of one who signs with a key of its own, whatever the certificate says."""

    def key_for(self, public: PublicKey) -> PrivateKey | None:
        return new_key("p256")
