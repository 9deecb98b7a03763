"""The keywords of ipsec.conf, each with its value's meaning: `config setup`, `conn`, and an end of a conn.

A field is named as its keyword, with underscores for dashes; `left` and `right` prefix the fields of an end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Annotated

from pydantic import PlainValidator, model_validator

from ikeclone.backend import Mode
from ikeclone.config import values
from ikeclone.config.authby import parse_authby
from ikeclone.config.commands import command
from ikeclone.config.extensions import ExtensionKeywords, RedirectKeywords
from ikeclone.config.handling import Addresses, HandlingKeywords
from ikeclone.config.modecfg import ModecfgEnd, ModecfgKeywords
from ikeclone.config.revocation import RevocationKeywords
from ikeclone.connection import Authby, Auto, Choice, ClonesMode, Identity, SendCert, Timing
from ikeclone.crypto import registry
from ikeclone.crypto.signature import PublicKey
from ikeclone.numbers import EapType, Esn, TransformType
from ikeclone.resolver import Way
from ikeclone.selectors import IPAddress, TrafficSelector
from ikeclone.steering import Choice as Steering
from ikeclone.steering import Settings as SteeringSettings
from ikeclone.wire.payloads import Proposal, Transform

_DAY = 86400.0
_TIMING = Timing()
_AUTO = {
    "ignore": Auto.IGNORE,
    "add": Auto.ADD,
    "keep": Auto.KEEP,
    "ondemand": Auto.ONDEMAND,
    "route": Auto.ONDEMAND,
    "start": Auto.START,
    "up": Auto.START,
}
_ESN = {"yes": (Esn.YES,), "no": (Esn.NO,), "either": (Esn.YES, Esn.NO)}

_PPK = {
    **dict.fromkeys(("yes", "permit", "propose"), Choice.AUTO),
    **dict.fromkeys(("no", "never"), Choice.NO),
    **dict.fromkeys(("insist", "always"), Choice.YES),
}
_SENDCERT = {
    "always": SendCert.ALWAYS,
    "yes": SendCert.ALWAYS,
    "sendifasked": SendCert.IF_ASKED,
    "ifasked": SendCert.IF_ASKED,
    "never": SendCert.NEVER,
    "no": SendCert.NEVER,
}

YesNo = Annotated[bool, PlainValidator(values.yes_no)]
Key = Annotated[PublicKey | None, PlainValidator(values.key)]
Lifetime = Annotated[float, PlainValidator(values.duration(_DAY))]
Networks = Annotated[tuple[TrafficSelector, ...], PlainValidator(values.subnets)]


def _only(*words: str) -> Callable[[str], str]:
    """A keyword of Libreswan's that has one meaning here."""
    return values.one_of({word: word for word in words})


class Setup(RevocationKeywords, RedirectKeywords):
    """`config setup`. Empty `listen` is all addresses; with `uniqueids` a peer's new IKE SA ends its old.

    `cacerts` is a directory of trusted authorities. `steering` is how received packets find the CPU of their SA,
    `steering_inside` the devices whose packets are spread over CPUs. `dns_resolver` is told of the name servers that
    peers give us.

    Of `max_halfopen_ike` half-open IKE SAs, those beyond `ddos_ike_threshold` are for initiators that return a cookie;
    with `ddos_mode` busy all are, with unlimited none.
    """

    listen: Annotated[tuple[IPAddress, ...], PlainValidator(values.addresses)] = ()
    uniqueids: YesNo = True
    cacerts: str | None = None
    steering: Annotated[Steering, PlainValidator(values.one_of({way.value: way for way in Steering}))] = Steering.AUTO
    steering_inside: Annotated[tuple[str, ...], PlainValidator(values.devices)] = ()
    dns_resolver: Annotated[Way, PlainValidator(values.one_of({way.value: way for way in Way}))] = Way.NO
    ddos_mode: Annotated[str, PlainValidator(_only("auto", "busy", "unlimited"))] = "auto"
    ddos_ike_threshold: Annotated[int, PlainValidator(values.integer(0, 1_000_000))] = 64
    max_halfopen_ike: Annotated[int, PlainValidator(values.integer(1, 1_000_000))] = 1024

    @property
    def cookie_threshold(self) -> int:
        """The number of half-open IKE SAs from which on cookies are demanded."""
        return {"busy": 0, "unlimited": self.max_halfopen_ike}.get(self.ddos_mode, self.ddos_ike_threshold)

    def steered(self) -> SteeringSettings:
        """What the steering is told."""
        return SteeringSettings(self.steering, self.steering_inside)


class EndKeywords(ModecfgEnd):
    """What left* or right* say. `host` is the keyword `left` or `right` itself; None is %any, a text %defaultroute.

    `cert` and `ca` are as written: they name files.
    """

    host: Annotated[IPAddress | str | None, PlainValidator(values.host)]
    id: Annotated[Identity | str | None, PlainValidator(values.end_identity)] = None
    subnet: Networks = ()
    subnets: Networks = ()
    protoport: Annotated[tuple[int, int | None] | None, PlainValidator(values.protoport)] = None
    interface_ip: Addresses = ()
    updown: Annotated[tuple[str, ...], PlainValidator(command)] = ()
    auth: Annotated[Authby | None, PlainValidator(parse_authby)] = None
    cert: str | None = None
    ca: str | None = None
    username: str | None = None
    sendcert: Annotated[SendCert, PlainValidator(values.one_of(_SENDCERT))] = SendCert.ALWAYS
    pubkey: Key = None
    rsasigkey: Key = None
    ecdsakey: Key = None
    eddsakey: Key = None

    @model_validator(mode="after")
    def _check(self) -> EndKeywords:
        if self.subnet and self.subnets:
            raise ValueError("subnet and subnets exclude each other")
        if self.asks and self.protoport:
            raise ValueError("protoport is not for an end that gets its address from the other")
        if self.protoport and self.address is None and not self.networks:
            raise ValueError("protoport needs a subnet where the address is %any or %defaultroute")
        if self.asks and any(network.networks()[0].prefixlen for network in self.networks):
            raise ValueError("the end gets its address from the other and has nothing else behind it: leave out subnet")
        if sum(each is not None for each in (self.cert, *self._keys)) > 1:
            raise ValueError("cert, pubkey, rsasigkey, ecdsakey and eddsakey exclude each other")
        self.selectors()
        return self

    @property
    def address(self) -> IPAddress | None:
        """The address, if there is only one that it can be."""
        return None if isinstance(self.host, str) else self.host

    @property
    def is_default(self) -> bool:
        """Whether it is this host, by whatever address it has (`%defaultroute`)."""
        return isinstance(self.host, str)

    @property
    def _keys(self) -> tuple[PublicKey | None, ...]:
        return self.pubkey, self.rsasigkey, self.ecdsakey, self.eddsakey

    @property
    def key(self) -> PublicKey | None:
        """The public key of an end without a certificate."""
        return next((key for key in self._keys if key is not None), None)

    @property
    def needs_signatures(self) -> bool:
        """Whether it says what makes sense only with signatures."""
        return self.cert is not None or self.key is not None or self.id == values.FROM_CERTIFICATE

    @property
    def networks(self) -> tuple[TrafficSelector, ...]:
        """What the subnets say, before protoport."""
        return self.subnet or self.subnets

    def selectors(self) -> tuple[TrafficSelector, ...]:
        """What traffic this end has in the tunnel; empty is the host itself, or the address that it gets."""
        if self.asks:
            return tuple(pool.selector for pool in self.addresspool)
        if self.protoport is None:
            return self.networks
        itself = () if self.address is None else (TrafficSelector.of(ip_network(self.address)),)
        return tuple(values.with_protoport(net, *self.protoport) for net in self.networks or itself)

    def versions(self) -> frozenset[int]:
        """The versions of IP in the tunnel; empty when only the peer knows."""
        if self.asks:
            return frozenset(pool.version for pool in self.addresspool)
        addresses = tuple(selector.first for selector in self.networks) or (self.address,)
        return frozenset(address.version for address in addresses if address)


class ConnKeywords(HandlingKeywords, ModecfgKeywords, ExtensionKeywords):
    """`conn NAME`. Times are seconds; `clones` is as in `ikeclone.connection.Connection`."""

    left: EndKeywords
    right: EndKeywords
    authby: Annotated[Authby | None, PlainValidator(parse_authby)] = None
    auto: Annotated[Auto, PlainValidator(values.one_of(_AUTO))] = Auto.IGNORE
    clones: Annotated[int | None, PlainValidator(values.clones)] = 0
    clones_mode: Annotated[ClonesMode, PlainValidator(values.one_of({mode.value: mode for mode in ClonesMode}))] = (
        ClonesMode.ONDEMAND
    )
    clones_idle: Annotated[float, PlainValidator(values.duration(_DAY, zero=True))] = 0.0
    clones_encap: YesNo = False
    type: Annotated[Mode, PlainValidator(values.one_of({mode.value: mode for mode in Mode}))] = Mode.TUNNEL
    ike: Annotated[tuple[Proposal, ...], PlainValidator(registry.parse_ike)] = registry.DEFAULT_IKE
    esp: Annotated[tuple[Proposal, ...], PlainValidator(registry.parse_esp)] = registry.DEFAULT_ESP
    esn: Annotated[tuple[Esn, ...], PlainValidator(values.one_of(_ESN))] = ()
    pfs: YesNo = True
    ppk: Annotated[Choice, PlainValidator(values.one_of(_PPK))] = Choice.AUTO
    ppk_ids: Annotated[tuple[bytes, ...], PlainValidator(values.names)] = ()
    encapsulation: Annotated[Choice, PlainValidator(values.one_of({choice.value: choice for choice in Choice}))] = (
        Choice.AUTO
    )
    fragmentation: Annotated[bool, PlainValidator(values.yes_no_force)] = True
    replay_window: Annotated[int, PlainValidator(values.integer(0, 4096))] = 128
    rekey: YesNo = True
    reauth: YesNo = False
    ikelifetime: Lifetime = _TIMING.ike_lifetime
    ipsec_lifetime: Lifetime = _TIMING.child_lifetime
    ipsec_max_bytes: Annotated[int | None, PlainValidator(values.amount("iB"))] = None
    ipsec_max_packets: Annotated[int | None, PlainValidator(values.amount("i"))] = None
    rekeymargin: Lifetime = _TIMING.margin
    rekeyfuzz: Annotated[float, PlainValidator(values.percent)] = _TIMING.fuzz
    retransmit_interval: Annotated[float, PlainValidator(values.duration(60, unit="ms"))] = _TIMING.retransmit_first
    retransmit_timeout: Annotated[float, PlainValidator(values.duration(3600))] = _TIMING.retransmit_timeout
    dpddelay: Annotated[float, PlainValidator(values.duration(_DAY, zero=True))] = _TIMING.dpd_delay
    nat_keepalive: YesNo = True
    mobike: YesNo = False

    # What Libreswan's files say for IKEv1, or say of IKEv2 what goes without saying here.
    dpdtimeout: Annotated[float, PlainValidator(values.duration(_DAY, zero=True))] = 0.0
    dpdaction: Annotated[str, PlainValidator(_only("hold", "clear", "restart"))] = "hold"
    keyexchange: Annotated[str, PlainValidator(_only("ikev2"))] = "ikev2"
    ikev2: Annotated[str, PlainValidator(_only("yes", "insist"))] = "yes"
    narrowing: Annotated[str, PlainValidator(_only("yes"))] = "yes"

    @model_validator(mode="after")
    def _check_ends(self) -> ConnKeywords:
        if self.left.host == self.right.host == values.DEFAULT_ROUTE:
            raise ValueError("left and right are both %defaultroute, which is this host: one must be its peer")
        if self.left.host is self.right.host is None:
            raise ValueError("left and right are both %any: one must be an address of this host, or %defaultroute")
        if len({end.address.version for end in (self.left, self.right) if end.address}) > 1:
            raise ValueError("left and right are addresses of different versions of IP")
        versions = self.left.versions(), self.right.versions()
        if all(versions) and not versions[0] & versions[1]:
            raise ValueError("leftsubnet and rightsubnet have no version of IP in common")
        if self.type is Mode.TRANSPORT and (self.left.networks or self.right.networks):
            raise ValueError("type=transport is for the hosts themselves: leave out leftsubnet and rightsubnet")
        return self

    @model_validator(mode="after")
    def _check_auth(self) -> ConnKeywords:
        for name, end in (("left", self.left), ("right", self.right)):
            shows = self.auth(end).signatures or EapType.TLS in self.auth(end).eap
            if end.needs_signatures and not shows:
                raise ValueError(f"{name}id=%fromcert, {name}cert= and keys are for signatures: see authby=")
        ends = self.auth(self.left), self.auth(self.right)
        alone = all(end.eap == (EapType.TLS,) for end in ends)
        if any(ends[n].eap and (ends[1 - n].signatures is None or ends[1 - n].eap) for n in (0, 1)) and not alone:
            raise ValueError(
                "EAP is for one end, with leftauth= or rightauth=: the other authenticates with a signature, "
                "or with eap-tls like the first"
            )
        return self

    def auth(self, end: EndKeywords) -> Authby:
        """How one of the ends authenticates."""
        return end.auth or self.authby or Authby()

    @model_validator(mode="after")
    def _check_modecfg(self) -> ConnKeywords:
        self.check_modecfg(self.left, self.right)
        if self.type is Mode.TRANSPORT and (self.left.asks or self.right.asks):
            raise ValueError("type=transport has no addresses inside a tunnel to give")
        return self

    @model_validator(mode="after")
    def _check_mobike(self) -> ConnKeywords:
        if self.mobike and self.type is Mode.TRANSPORT:
            raise ValueError("mobike=yes is for tunnels: type=transport ties an SA to the addresses (RFC 4555)")
        return self

    @model_validator(mode="after")
    def _check_clones(self) -> ConnKeywords:
        if self.clones_encap and self.encapsulation is Choice.NO:
            raise ValueError("clones-encap=yes is for ESP in UDP, which encapsulation=no forbids")
        return self

    @model_validator(mode="after")
    def _check_times(self) -> ConnKeywords:
        most = self.rekeymargin * (1 + self.rekeyfuzz)
        for name, lifetime in (("ikelifetime", self.ikelifetime), ("salifetime", self.ipsec_lifetime)):
            if self.rekey and most >= lifetime:
                raise ValueError(
                    f"rekeymargin and rekeyfuzz take up to {most:g} of the {lifetime:g} seconds of {name}: "
                    f"make it longer or rekeymargin shorter"
                )
        return self

    @model_validator(mode="after")
    def _check_esn(self) -> ConnKeywords:
        if not self.replay_window and self.esn == _ESN["yes"]:
            raise ValueError("esn=yes needs a replay-window above 0")
        return self

    def timing(self) -> Timing:
        """The times as the state machine takes them."""
        return Timing(
            ike_lifetime=self.ikelifetime,
            child_lifetime=self.ipsec_lifetime,
            margin=self.rekeymargin,
            fuzz=self.rekeyfuzz,
            retransmit_first=self.retransmit_interval,
            retransmit_timeout=self.retransmit_timeout,
            dpd_delay=self.dpddelay,
            keepalive=_TIMING.keepalive if self.nat_keepalive else 0.0,
        )

    def esp_proposals(self) -> tuple[Proposal, ...]:
        """The proposals of esp= with the sequence numbers of esn=, or either kind where neither says which.

        Without a replay window there are none of 64 bits, since nothing would keep track of the upper half.
        """
        kinds = self.esn if self.replay_window else _ESN["no"]
        return tuple(_with_esn(proposal, kinds) for proposal in self.esp)


def _with_esn(proposal: Proposal, kinds: tuple[Esn, ...]) -> Proposal:
    """The proposal with these kinds of sequence numbers; with none, those it names, or either."""
    others = tuple(transform for transform in proposal.transforms if transform.type != TransformType.ESN)
    if not kinds and Transform(TransformType.ESN, Esn.YES) in proposal.transforms:
        return proposal
    wanted = tuple(Transform(TransformType.ESN, kind) for kind in kinds or _ESN["either"])
    return replace(proposal, transforms=others + wanted)
