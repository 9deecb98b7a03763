"""What `conn NAME` says, as the state machine needs it: checked, oriented (local and remote) and free of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from cryptography import x509

from ikeclone.backend import Handling, Mode, Volume
from ikeclone.crypto.signature import PublicKey, SignaturePolicy
from ikeclone.numbers import EapType, IdType
from ikeclone.pki.dn import Name, is_name
from ikeclone.selectors import IPAddress, TrafficSelector
from ikeclone.wire.payloads import Proposal


class Auto(Enum):
    """What happens to a connection when the daemon starts (`auto=`), and when its peer takes it down.

    START and KEEP bring it up again; KEEP leaves the first time to the peer, or to `up`.
    """

    IGNORE = "ignore"
    ADD = "add"
    ONDEMAND = "ondemand"
    START = "start"
    KEEP = "keep"


class ClonesMode(Enum):
    """When clones are opened (`clones-mode=`): for a CPU with traffic, or for every CPU at once."""

    ONDEMAND = "ondemand"
    EAGER = "eager"


class Choice(Enum):
    """A feature that can be left to circumstances, demanded or refused."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


class Childless(Enum):
    """Whether IKE SAs are set up without a Child SA (`childless=`): if the peer does, if it can, always, never."""

    ALLOW = "allow"
    PREFER = "prefer"
    FORCE = "force"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Identity:
    """An IKE identity (RFC 7296 section 3.5); printed as ipsec.conf writes it: @east, user@host, 192.1.2.23."""

    type: IdType
    data: bytes

    @classmethod
    def parse(cls, text: str) -> Identity:
        """`@name` is a host name, `@@` or `user@host` a mail address, `@#hex` a key id, `C=CA, CN=west` a
        distinguished name, else it is an IP address.

        Raises ValueError when it is none of them.
        """
        if is_name(text):
            return cls(IdType.DER_ASN1_DN, Name.parse(text).der())
        if text.startswith("@#"):
            return cls(IdType.KEY_ID, bytes.fromhex(text[2:].removeprefix("0x")))
        if text.startswith("@@"):
            return cls(IdType.RFC822_ADDR, text[2:].encode())
        if text.startswith("@"):
            return cls(IdType.FQDN, text[1:].encode())
        if "@" in text:
            return cls(IdType.RFC822_ADDR, text.encode())
        return cls.of_address(ip_address(text))

    @classmethod
    def of_address(cls, address: IPAddress) -> Identity:
        """The identity of a host that has no other."""
        return cls(IdType.IPV4_ADDR if address.version == 4 else IdType.IPV6_ADDR, address.packed)

    def __str__(self) -> str:
        match self.type:
            case IdType.FQDN:
                return "@" + self.data.decode(errors="backslashreplace")
            case IdType.RFC822_ADDR:
                return self.data.decode(errors="backslashreplace")
            case IdType.IPV4_ADDR | IdType.IPV6_ADDR if len(self.data) in (4, 16):
                return str(ip_address(self.data))
            case IdType.NULL:
                return "%null"
            case IdType.DER_ASN1_DN if (name := _name(self.data)) is not None:
                return name
            case _:
                return "@#" + self.data.hex()


def _name(der: bytes) -> str | None:
    try:
        return str(Name.from_der(der))
    except ValueError:
        return None


class SendCert(Enum):
    """When we send our certificate (`leftsendcert=`)."""

    ALWAYS = "always"
    IF_ASKED = "ifasked"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Authby:
    """The ways in which an end may prove who it is (`authby=`, `leftauth=`); signatures are to a policy's liking.

    `eap` is by which methods of EAP an initiator may, after the other end has proven itself with a signature.
    """

    secret: bool = False
    null: bool = False
    signatures: SignaturePolicy | None = None
    eap: tuple[EapType, ...] = ()

    def __str__(self) -> str:
        words = (
            ("a preshared key", self.secret),
            ("a signature", self.signatures),
            ("EAP", self.eap),
            ("nothing", self.null),
        )
        return " or ".join(word for word, allowed in words if allowed)


SECRET = Authby(secret=True)


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses of one version of IP, `first` to `last`, that are leased to peers (`rightaddresspool=`)."""

    first: IPAddress
    last: IPAddress

    @property
    def version(self) -> int:
        return self.first.version

    @property
    def selector(self) -> TrafficSelector:
        """The traffic of all of them."""
        return TrafficSelector(self.first, self.last)

    @property
    def size(self) -> int:
        """How many they are."""
        return int(self.last) - int(self.first) + 1

    def __contains__(self, address: IPAddress) -> bool:
        return address.version == self.version and int(self.first) <= int(address) <= int(self.last)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class End:
    """One side of a connection. `address` None is %any; `selectors` empty means the host itself.

    `identity` None is the address, or with `from_certificate` whatever the peer's certificate is one for.
    `certificates` are the end's own and those between it and its authority; a peer must then have that one. Without,
    a peer's must come from one of `anchors` or, if there are none, from any authority that the host trusts. With
    `public_key` there is no need of certificates. `user` is the name for EAP: ours, or the only one to be let in.
    `updown` is the command to run when our traffic takes the tunnel, and no more, in words.

    An end that `asks` has the other give it its address inside the tunnel, `source` if it may choose; `pools` are those
    that it gets it from.
    """

    address: IPAddress | None
    identity: Identity | None
    selectors: tuple[TrafficSelector, ...] = ()
    source: IPAddress | None = None
    auth: Authby = SECRET
    from_certificate: bool = False
    certificates: tuple[x509.Certificate, ...] = ()
    anchors: tuple[x509.Certificate, ...] = ()
    public_key: PublicKey | None = None
    send_certificate: SendCert = SendCert.ALWAYS
    user: str | None = None
    interface_addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    asks: bool = False
    pools: tuple[Pool, ...] = ()
    updown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """Times in seconds. An SA is rekeyed `margin`, and up to `fuzz` times that more, before its lifetime ends."""

    ike_lifetime: float = 8 * 3600.0
    child_lifetime: float = 8 * 3600.0
    margin: float = 540.0
    fuzz: float = 1.0
    retransmit_first: float = 0.5
    retransmit_timeout: float = 60.0
    dpd_delay: float = 0.0
    keepalive: float = 20.0

    def retransmit_at(self, since: float, now: float, sent: int) -> float:
        """When a request of `since` that was sent so many times is due again: pauses double, the last ends in time."""
        return min(now + self.retransmit_first * 2.0 ** (sent - 1), since + self.retransmit_timeout)


@dataclass(frozen=True, slots=True)
class Redirection:
    """Whether we go where a gateway sends us, anywhere if `accept_to` is empty, and where we send peers (RFC 5685).

    With `send` AUTO that is while we are busy.
    """

    accept: bool = False
    accept_to: tuple[IPAddress, ...] = ()
    send: Choice = Choice.NO
    to: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection. `clones` is for how many CPUs we open clones beside the fallback: 0 none, None for every CPU.

    A clone that is unused for `clones_idle` seconds is taken down, 0 leaves it; with `clones_encap` each sends ESP in
    UDP from a port of its own. With `ppk` YES there must be a postquantum preshared key, with AUTO the first that fits
    is used if the peer has it; `ppk_ids` are the names of those that it may be, all if empty. `ike` and `esp` are
    proposals in order of preference, without SPIs. A Child SA ends when a direction has carried `volume`. `dns` and
    `domains` are the name servers, and the domains that they know of, for a peer that gets its address from us; with
    `ignore_peer_dns` those that a peer gives us are only shown.
    """

    name: str
    local: End
    remote: End
    ike: tuple[Proposal, ...]
    esp: tuple[Proposal, ...]
    clones: int | None = 0
    clones_mode: ClonesMode = ClonesMode.ONDEMAND
    clones_idle: float = 0.0
    clones_encap: bool = False
    auto: Auto = Auto.IGNORE
    mode: Mode = Mode.TUNNEL
    encapsulation: Choice = Choice.AUTO
    fragmentation: bool = True
    replay_window: int = 128
    pfs: bool = True
    ppk: Choice = Choice.AUTO
    ppk_ids: tuple[bytes, ...] = ()
    rekey: bool = True
    reauth: bool = False
    mobike: bool = False
    childless: Childless = Childless.ALLOW
    redirection: Redirection = field(default_factory=Redirection)
    resumption: bool = False
    timing: Timing = field(default_factory=Timing)
    volume: Volume = field(default_factory=Volume)
    handling: Handling = field(default_factory=Handling)
    dns: tuple[IPAddress, ...] = ()
    domains: tuple[str, ...] = ()
    ignore_peer_dns: bool = False

    @property
    def stays_up(self) -> bool:
        """Whether it is brought up again when the peer has taken it down."""
        return self.auto in (Auto.START, Auto.KEEP)


@dataclass(frozen=True, slots=True)
class Secret:
    """A preshared key and the identities it is for; an empty tuple means any peer. Never printed."""

    identities: tuple[Identity, ...]
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ppk:
    """A postquantum preshared key (RFC 8784) and its name; each of `identities` must be ours or the peer's."""

    identities: tuple[Identity, ...]
    name: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Password:
    """The password of a user, for EAP. Never printed."""

    user: str
    text: str = field(repr=False)


def find_secret(secrets: tuple[Secret, ...], local: Identity, remote: Identity) -> Secret | None:
    """The most specific secret for a pair of identities: both named, else the peer, else us, else for anyone."""

    def rank(secret: Secret) -> int:
        if not secret.identities:
            return 1
        names_local, names_remote = local in secret.identities, remote in secret.identities
        if len(secret.identities) == 1:
            return 3 * names_remote + 2 * (names_local and not names_remote)
        return 4 * (names_local and names_remote)

    best = max(secrets, key=rank, default=None)
    return best if best is not None and rank(best) else None
