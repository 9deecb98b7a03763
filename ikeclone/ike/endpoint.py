"""The endpoint: from a datagram or an event of the data plane to its IKE SA."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from ikeclone.backend import Counters, Expire, Lost, Path, Remapped
from ikeclone.connection import Auto, Connection
from ikeclone.credentials import Credentials
from ikeclone.errors import LocalError, PeerError
from ikeclone.ike.actions import Action, Datagram, Kind
from ikeclone.ike.child import Child
from ikeclone.ike.contact import Contacts
from ikeclone.ike.holdings import Holdings
from ikeclone.ike.host import Host, Resources, Settings
from ikeclone.ike.inquiries import Inquiries
from ikeclone.ike.opening import Opening
from ikeclone.ike.reception import Reception
from ikeclone.ike.roaming import roam
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.ike.tickets import Tickets
from ikeclone.ike.triggers import Packet
from ikeclone.ike.tunnel import Tunnel
from ikeclone.numbers import ExchangeType
from ikeclone.pki.certificate import Certificate
from ikeclone.pki.standing import Query
from ikeclone.selectors import IPAddress
from ikeclone.wire.message import parse_message

log = logging.getLogger(__name__)

_OPENING = (ExchangeType.IKE_SA_INIT, ExchangeType.IKE_SESSION_RESUME)


class Endpoint:
    """All IKE SAs of a host. Time goes in with every call; `actions` and `datagrams` are what comes out.

    `wall` tells the date, with its time zone, by which certificates are valid.
    """

    def __init__(
        self,
        resources: Resources,
        random: Callable[[int], bytes],
        wall: Callable[[], datetime],
        now: float,
        credentials: Credentials,
        settings: Settings | None = None,
    ) -> None:
        self.host = Host(resources, random, wall, settings or Settings())
        self.credentials = credentials
        # All connections, with the instances of those for any number of peers; and without them.
        self.tunnels: dict[str, Tunnel] = {}
        self.configured: list[Tunnel] = []
        self.holdings = Holdings()
        self.contacts = Contacts()
        self.inquiries = Inquiries(self, credentials.revocation, now)
        self._sas: dict[bytes, IkeSa | Opening] = {}
        self.reception = Reception(self, now)
        self.tickets = Tickets(random)

    # Connections and commands

    def add(self, connection: Connection, now: float) -> None:
        """Take a connection; `auto=start` brings it up at once."""
        tunnel = self.tunnels[connection.name] = Tunnel(self, connection)
        self.configured.append(tunnel)
        if connection.auto is Auto.START:
            try:
                tunnel.approach.start(now)
            except LocalError as error:
                tunnel.note(Kind.FAILED, str(error))

    def learn(self, credentials: Credentials) -> None:
        """From now on this is what the host has to prove who it is, and to check who its peers are."""
        self.credentials = credentials
        self.inquiries.learn(credentials.revocation.lists)

    def tunnel(self, name: str) -> Tunnel:
        """The connection of that name; raises LocalError that names the connection when it is one of its instances."""
        if (tunnel := self.tunnels.get(name)) is not None:
            return tunnel
        parent, _, instance = name.rpartition("-")
        if parent in self.tunnels and instance.isdigit():
            raise LocalError(f"{name} is an instance of {parent}: act on the connection, {parent}")
        known = ", ".join(sorted(self.tunnels)) or "none"
        raise LocalError(f"no connection {name} (there are: {known})")

    def named(self, name: str) -> tuple[Tunnel, ...]:
        """The connection of that name, or its instances if it has some; raises LocalError as `tunnel` does."""
        tunnel = self.tunnel(name)
        return tuple(tunnel.instances) or (tunnel,)

    def acquire(self, name: str, cpu: int | None, now: float, packet: Packet | None = None) -> None:
        """The data plane has a packet, with these selectors, without an SA of its own."""
        if (tunnel := self.tunnels.get(name)) is not None:
            try:
                tunnel.acquire(cpu, now, packet)
            except LocalError as error:
                tunnel.revival.failed(str(error), now)

    def addresses(
        self, addresses: Iterable[IPAddress], now: float, sources: Mapping[IPAddress, IPAddress] | None = None
    ) -> None:
        """These are this host's addresses now, those first that packets to elsewhere would have.

        `sources` are those that packets to some peers would have.
        """
        former, self.host.addresses, self.host.sources = self.host.addresses, tuple(addresses), dict(sources or {})
        roam(self, former, now)

    def local_addresses(self) -> Iterator[IPAddress]:
        """Those that SAs have, be they this host's or not any more."""
        for sa in self._sas.values():
            yield sa.path.local
        for sa in self.ike_sas():
            yield from (child.path.local for child in sa.children.values())

    @property
    def wants_counters(self) -> bool:
        """Whether the next survey needs them."""
        return any(tunnel.openings.wants_counters for tunnel in self.tunnels.values())

    def survey(self, counters: Mapping[int, Counters], now: float) -> None:
        """Look now and then, every few seconds, at which clones are used and which CPUs are there.

        `counters` are the data plane's, by inbound SPI, or nothing if they are not wanted.
        """
        for tunnel in self.tunnels.values():
            tunnel.openings.survey(counters, now)

    def expire(self, event: Expire, now: float) -> None:
        """An SA has reached one of its limits."""
        for tunnel, sa, child in self._children((event.inbound_spi,)):
            tunnel.children.lifetimes.used_up(sa, child, now, hard=event.hard)

    def lost(self, event: Lost, now: float) -> None:
        """The data plane lost these SAs: they cannot be rekeyed, as nobody receives on them; make them anew."""
        for tunnel, sa, child in self._children(event.inbound_spis):
            tunnel.children.replace_lost(sa, child, now)

    def remapped(self, event: Remapped, now: float) -> None:
        """ESP came from a new port or address: only what is sent on this SA follows, never IKE.

        A peer with clones may give each of them a source port of its own, on which it does not receive: there a
        port says nothing, and IKE finds out when a NAT has changed it.
        """
        for tunnel, sa, child in self._children((event.inbound_spi,)):
            elsewhere = not child.agreement.per_resource or event.path.remote != child.path.remote
            if sa.abilities.nat.remote and elsewhere:
                tunnel.children.move(sa, child, event.path)

    def install_failed(self, inbound_spi: int, reason: str, now: float) -> None:
        """The data plane refused an SA: delete it, so that the peer does not send on it."""
        for tunnel, sa, child in self._children((inbound_spi,)):
            tunnel.children.refuse(sa, child, reason, now)

    def _children(self, spis: tuple[int, ...]) -> list[tuple[Tunnel, IkeSa, Child]]:
        found = [(sa, sa.children[spi]) for sa in self.ike_sas() for spi in spis if spi in sa.children]
        return [(child.tunnel, sa, child) for sa, child in found]

    def certificates(self) -> tuple[Certificate, ...]:
        """Every certificate that the configuration names."""
        store = self.credentials.store
        ends = (end for t in self.tunnels.values() for end in (t.connection.local, t.connection.remote))
        named = (each for end in ends for each in (*end.certificates, *end.anchors))
        return tuple(dict.fromkeys((*store.anchors, *store.intermediates, *named)))

    def fetched(self, query: Query, data: bytes | None, now: float) -> str | None:
        """What came of a Fetch, None if it came to nothing; returns what is wrong with it, if anything is."""
        return self.inquiries.fetched(query, data, now)

    # Time and messages

    def receive(self, data: bytes, path: Path, now: float) -> None:
        """Take a datagram; whatever is in it, only the IKE SA that it is authentic for can change."""
        try:
            message = parse_message(data)
        except PeerError as error:
            self.host.count(error.notify.name.lower())
            return
        header = message.header
        if header.exchange in _OPENING and not header.response:
            self.reception.receive(message, data, path, now)
            return
        sa = self._sas.get(header.responder_spi if header.initiator else header.initiator_spi)
        if sa is None:
            self.host.count("unknown ike spi")
            return
        try:
            sa.receive(message, data, path, now)
        except Exception:
            # A bug in one IKE SA must not end the others: this one ends alone.
            log.exception("IKE SA %s: internal error", sa.local_spi.hex())
            self._abort(sa, now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        for owner, callback in self.host.timers.due(now):
            try:
                callback(now)
            except Exception:
                log.exception("timer of %s: internal error", type(owner).__name__)
                if isinstance(owner, IkeSa | Opening):
                    self._abort(owner, now)

    def timer(self) -> float | None:
        """When `tick` wants to be called next."""
        return self.host.timers.next()

    def actions(self) -> list[Action]:
        """What to do before the datagrams are sent, each once."""
        actions = list(self.host.actions)
        self.host.actions.clear()
        return actions

    def datagrams(self) -> list[Datagram]:
        """What to send, each once."""
        datagrams = list(self.host.datagrams)
        self.host.datagrams.clear()
        return datagrams

    @property
    def counters(self) -> Mapping[str, int]:
        """How many inputs changed nothing, by reason."""
        return self.host.counters

    # IKE SAs

    def ike_sas(self) -> Iterator[IkeSa]:
        """Every IKE SA whose keys are known."""
        return (sa for sa in list(self._sas.values()) if isinstance(sa, IkeSa))

    def register(self, sa: IkeSa | Opening) -> None:
        """Messages to this SA's local SPI go to it."""
        self._sas[sa.local_spi] = sa
        if isinstance(sa, IkeSa):
            sa.tunnel.own[sa] = None

    def authenticated(self, sa: IkeSa) -> None:
        """The peer of this IKE SA has proved who it is."""
        self.reception.authenticated(sa)
        self.contacts.add(sa)

    def forget(self, sa: IkeSa | Opening) -> None:
        """Messages to this SA go nowhere."""
        self.host.timers.cancel(sa)
        self._sas.pop(sa.local_spi, None)
        if isinstance(sa, IkeSa):
            sa.tunnel.own.pop(sa, None)
            self.contacts.remove(sa)
            self.reception.forget(sa)

    def _abort(self, broken: IkeSa | Opening, now: float) -> None:
        """End what is there now: what was asked for may have become an IKE SA, and that may have ended."""
        sa = self._sas.get(broken.local_spi)
        if isinstance(sa, Opening):
            sa.fail(now, "internal error")
        elif sa is not None and sa.state is not State.DEAD:
            sa.lose(now, "internal error")
