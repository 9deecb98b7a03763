"""A virtual network: endpoints with in-memory data planes, bad links, and a clock that jumps."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from random import Random

from ikeclone.apply import apply
from ikeclone.backend import Acquire, Expire, Path
from ikeclone.connection import Auto, Choice, Connection, End, Identity, Secret, Timing
from ikeclone.credentials import Credentials
from ikeclone.crypto.registry import parse_esp, parse_ike
from ikeclone.ike.actions import Datagram, Fetch, IkeKeyed, Kind, Report
from ikeclone.ike.child import Child
from ikeclone.ike.endpoint import Endpoint
from ikeclone.ike.host import Settings
from ikeclone.ike.negotiation import NONCE_SIZE
from ikeclone.ike.sa import IkeSa
from ikeclone.memory import MemoryBackend, Packet
from ikeclone.pki.standing import Order
from ikeclone.selectors import IPAddress, TrafficSelector
from ikeclone.wire.message import Message, parse_message, parse_payloads
from tests.pair.nat import Nat

WEST, EAST = ip_address("192.1.2.45"), ip_address("192.1.2.23")
NAME = "westnet-eastnet"
SECRET = Secret((Identity.parse("@west"), Identity.parse("@east")), b"a secret of the pair tests")
KEY = Credentials((SECRET,))
START = datetime(2026, 6, 1, tzinfo=UTC)
IKE, ESP = "aes_gcm256-sha2_256-dh31", "aes_gcm256"

WEST_END = End(WEST, Identity.parse("@west"), (TrafficSelector.of(ip_network("192.0.1.0/24")),))
EAST_END = End(EAST, Identity.parse("@east"), (TrafficSelector.of(ip_network("192.0.2.0/24")),))


def connection(local: End, remote: End, /, **changes: object) -> Connection:
    """The seed's connection, seen from one side."""
    base = Connection(NAME, local, remote, parse_ike(IKE), parse_esp(ESP), clones=2, auto=Auto.ADD)
    return replace(base, **{"timing": Timing(margin=60), "encapsulation": Choice.AUTO, **changes})  # type: ignore[arg-type]


@dataclass
class Link:
    """What happens to what is sent: delay in seconds, and the chances of loss and repetition, 0 to 1."""

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    repeat: float = 0.0
    cut: bool = False
    drop: Callable[[bytes], bool] = field(default=lambda data: False)


class Side:
    """One host of the network. `inbox` has the peer's IKE datagrams while the network holds them.

    `first_octet` begins every nonce drawn while it is set, to say which one is the lowest. `web` is what it can fetch,
    by address, `web_delay` seconds later; None is a failure, and what is not there never answers. What it sends takes
    `distance` seconds longer than the link's delay. `others` are its connections beside the seed's, from `start` on.
    """

    def __init__(
        self,
        network: Network,
        address: IPAddress,
        conn: Connection,
        cpus: int,
        settings: Settings,
        seed: int,
        credentials: Credentials,
    ) -> None:
        self.network, self.address, self.conn = network, address, conn
        self.backend = MemoryBackend(frozenset(range(cpus)), 0x1000 * (seed + 1), lambda: network.now)
        self.settings, self.random = settings, Random(seed)
        self.credentials = credentials
        self.reports: list[Report] = []
        self.sent: list[Datagram] = []
        self.inbox: deque[Datagram] = deque()
        self.first_octet: int | None = None
        self.keyed: list[IkeKeyed] = []
        self.fetched: list[Order] = []
        self.web: dict[str, bytes | None] = {}
        self.web_delay = 0.3
        self.distance = 0.0
        self.failed_installs: list[str] = []
        self.own: tuple[IPAddress, ...] = (address,)
        self.others: tuple[Connection, ...] = ()
        self.start()

    def start(self) -> None:
        """Start the daemon, or start it anew: all that it knew is gone."""
        finish(self.backend.stop())
        now = self.network.now
        self.endpoint = Endpoint(self.backend, self._randbytes, self._date, now, self.credentials, self.settings)
        self.endpoint.addresses(self.own, now)
        for conn in (self.conn, *self.others):
            self.endpoint.add(conn, self.network.now)
        self.network.settle(self)

    def _date(self) -> datetime:
        return START + timedelta(seconds=self.network.now)

    def _randbytes(self, size: int) -> bytes:
        drawn = self.random.randbytes(size)
        return drawn if self.first_octet is None or size != NONCE_SIZE else bytes([self.first_octet]) + drawn[1:]

    def addresses(self, *addresses: str) -> None:
        """This side has these addresses from now on, and no others."""
        self.own = tuple(ip_address(address) for address in addresses)
        self.endpoint.addresses(self.own, self.network.now)
        self.network.settle(self)

    @property
    def children(self) -> list[Child]:
        """The connection's Child SAs, those of its first instance if it has some."""
        return sorted(self.endpoint.named(NAME)[0].clones, key=lambda c: (c.instance, c.serial))

    @property
    def ike(self) -> IkeSa | None:
        """The connection's IKE SA."""
        return self.endpoint.named(NAME)[0].ike

    def up(self, name: str = NAME, *, ike_only: bool = False) -> None:
        self.endpoint.tunnel(name).up(self.network.now, ike_only=ike_only)
        self.network.settle(self)

    def down(self, name: str = NAME) -> None:
        for tunnel in self.endpoint.named(name):
            tunnel.down(self.network.now)
        self.network.settle(self)

    def take(self, index: int = 0) -> None:
        """Receive one of the datagrams that the network holds for this side."""
        datagram = self.inbox[index]
        del self.inbox[index]
        self.network.receive(self, datagram)

    def read(self, index: int = 0) -> Message:
        """What is in a datagram that the network holds for this side, decrypted, which leaves it where it is."""
        message = parse_message(self.inbox[index].data)
        spis = message.header.initiator_spi, message.header.responder_spi
        sa = next(sa for sa in self.endpoint.ike_sas() if (sa.spi_i, sa.spi_r) == spis)
        opened = sa.channel.open(message, self.inbox[index].data)
        assert opened is not None
        return Message(message.header, parse_payloads(*opened))

    def rekey(self, name: str = NAME, *, ike: bool = False, reauth: bool = False) -> None:
        self.endpoint.named(name)[0].rekey(self.network.now, ike, reauth)
        self.network.settle(self)

    def packet(self, cpu: int, size: int = 84, name: str = NAME) -> bool:
        """Traffic on a CPU: a packet is sent if there is an SA for it, and acquires reach the daemon."""
        packet = self.backend.transmit(name, cpu, size)
        self.hear()
        if packet is not None:
            self.network.carry(self, packet)
        self.network.settle(self)
        return packet is not None

    def hear(self) -> None:
        """What the data plane tells reaches the daemon."""
        while self.backend.events:
            event = self.backend.events.popleft()
            if isinstance(event, Acquire):
                self.endpoint.acquire(event.connection, event.cpu, self.network.now)
            else:
                assert isinstance(event, Expire)
                self.endpoint.expire(event, self.network.now)

    def survey(self) -> None:
        """Let the endpoint look at its clones, as the daemon does every few seconds."""
        counters = self.backend.counted if self.endpoint.wants_counters else {}
        self.endpoint.survey(counters, self.network.now)
        self.network.settle(self)

    def kinds(self, *kinds: Kind) -> list[Report]:
        """The reports of these kinds so far."""
        return [report for report in self.reports if report.kind in kinds]


class Network:
    """West and east of the seed. Time passes only in `run`."""

    def __init__(
        self,
        *,
        cpus: tuple[int, int] = (2, 2),
        seed: int = 1,
        west: Mapping[str, object] | None = None,
        east: Mapping[str, object] | None = None,
        settings: Settings | None = None,
        delay: float = 0.01,
        nat: Nat | None = None,
        credentials: tuple[Credentials, Credentials] = (KEY, KEY),
    ) -> None:
        self.now = 1000.0
        self.nat = nat
        self.random = Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self.link = Link(delay=delay)
        self.held = False
        self.lost_packets: list[Packet] = []
        self.seen: list[Datagram] = []
        # Called at every moment: when a side has done what it wanted to.
        self.watch: Callable[[], None] = lambda: None
        settings = settings or Settings()
        conns = connection(WEST_END, EAST_END, **(west or {})), connection(EAST_END, WEST_END, **(east or {}))
        self.west = Side(self, WEST, conns[0], cpus[0], settings, seed, credentials[0])
        self._third: list[Side] = []
        self.east = Side(self, EAST, conns[1], cpus[1], settings, seed + 1000, credentials[1])

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.west, self.east

    def add(
        self, address: str, conn: Connection, settings: Settings | None = None, credentials: Credentials = KEY
    ) -> Side:
        """One more host, of whom `sides` and what is said of both know nothing."""
        seed = 2000 + 1000 * len(self._third)
        side = Side(self, ip_address(address), conn, 2, settings or Settings(), seed, credentials)
        self._third.append(side)
        return side

    def peer(self, side: Side) -> Side:
        return self.east if side is self.west else self.west

    def _receiver(self, sender: Side, address: IPAddress) -> Side:
        others = (*self._third, *self.sides) if sender in self._third else self._third
        return next((side for side in others if side.address == address), self.peer(sender))

    def settle(self, side: Side) -> None:
        """Do what an endpoint asks for, then send what it wants to send."""
        for action in side.endpoint.actions():
            if isinstance(action, Report):
                side.reports.append(action)
            elif isinstance(action, IkeKeyed):
                side.keyed.append(action)
            elif isinstance(action, Fetch):
                self._fetch(side, action.order)
            else:
                finish(apply(side.backend, action))
        for datagram in side.endpoint.datagrams():
            side.sent.append(datagram)
            self._carry_ike(side, datagram)
        self.watch()

    def _fetch(self, side: Side, order: Order) -> None:
        side.fetched.append(order)
        if order.query.address in side.web:
            self.at(side.web_delay, lambda: self._fetched(side, order))

    def _fetched(self, side: Side, order: Order) -> None:
        side.endpoint.fetched(order.query, side.web[order.query.address], self.now)
        self.settle(side)

    def carry(self, side: Side, packet: Packet) -> None:
        """An ESP packet crosses the link; one that nobody takes is noted in `lost_packets`."""
        if not self._lost():
            self.at(self._delay(side), lambda: self._deliver(self.peer(side), packet))

    def _deliver(self, side: Side, packet: Packet) -> None:
        if side.backend.receive(packet) is None:
            self.lost_packets.append(packet)
        side.hear()
        self.settle(side)

    def _carry_ike(self, side: Side, datagram: Datagram) -> None:
        self.seen.append(datagram)
        if self.link.drop(datagram.data) or datagram.path.local not in side.own:
            return
        if self.held:
            self._receiver(side, datagram.path.remote).inbox.append(datagram)
            return
        for _ in range(1 + (self.random.random() < self.link.repeat)):
            if not self._lost():
                self.at(self._delay(side), lambda: self.receive(self._receiver(side, datagram.path.remote), datagram))

    def hold(self) -> Network:
        """From now on IKE datagrams wait in the receiver's `inbox` until it takes them."""
        self.held = True
        return self

    def release(self) -> None:
        """Deliver what is held, and from now on everything by itself."""
        self.held = False
        for side in self.sides:
            while side.inbox:
                side.take()

    def receive(self, side: Side, datagram: Datagram) -> None:
        """A datagram arrives at a side."""
        there = datagram.path if self.nat is None else self.nat.translate(datagram.path)
        if there is None or there.remote not in side.own or len(datagram.data) == 1:
            return
        here = Path(there.remote, there.local, there.remote_port, there.local_port)
        side.endpoint.receive(datagram.data, here, self.now)
        self.settle(side)

    def _lost(self) -> bool:
        return self.link.cut or self.random.random() < self.link.loss

    def _delay(self, side: Side) -> float:
        return side.distance + self.link.delay + self.random.random() * self.link.jitter

    def at(self, delay: float, event: Callable[[], None]) -> None:
        """Do something later."""
        self._order += 1
        heapq.heappush(self._events, (self.now + delay, self._order, event))

    def run(self, seconds: float) -> None:
        """Let time pass, with everything that happens in it."""
        end = self.now + seconds
        while (when := self._next()) is not None and when <= end:
            self.now = max(self.now, when)
            if self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            for side in (*self.sides, *self._third):
                side.endpoint.tick(self.now)
                self.settle(side)
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit: float = 300.0) -> None:
        """Let time pass until something holds; fail when it does not within the limit."""
        end = self.now + limit
        while not condition():
            when = self._next()
            assert when is not None, "nothing will happen any more"
            assert when <= end, "it did not happen in time"
            self.run(max(0.0, when - self.now))

    @property
    def quiet(self) -> bool:
        """Whether nothing is on its way and no request awaits its response."""
        sas = (sa for side in self.sides for sa in side.endpoint.ike_sas())
        initiating = any(tunnel.approach.initiation for side in self.sides for tunnel in side.endpoint.named(NAME))
        return not self._events and not initiating and not any(sa.requests.outstanding for sa in sas)

    def _next(self) -> float | None:
        times = [t for side in (*self.sides, *self._third) if (t := side.endpoint.timer()) is not None]
        if self._events:
            times.append(self._events[0][0])
        return min(times, default=None)

    def established(self) -> Network:
        """Bring the connection up from the west."""
        self.west.up()
        self.run_until(lambda: all(len(side.children) == 1 for side in self.sides))
        return self

    def assert_consistent(self) -> None:
        """Both sides hold the same SAs, with equal keys, and the data planes hold what the endpoints do."""
        assert_agree([self.west], [self.east])


def assert_agree(ones: Sequence[Side], others: Sequence[Side]) -> None:
    """What some hosts and their peers hold are the same SAs, with equal keys, and each holds nothing else."""
    west, east = ({spi: sa for s in sides for spi, sa in s.backend.installed.items()} for sides in (ones, others))
    assert {sa.outbound_spi for sa in west.values()} == set(east)
    assert {sa.outbound_spi for sa in east.values()} == set(west)
    for sa in west.values():
        other = east[sa.outbound_spi]
        assert sa.outbound_keys == other.inbound_keys
        assert sa.inbound_keys == other.outbound_keys
    for side in (*ones, *others):
        children = {child for tunnel in side.endpoint.tunnels.values() for child in tunnel.clones}
        assert set(side.backend.installed) == {c.inbound_spi for c in children}
        assert not side.backend.reserved
        live = {*side.endpoint.ike_sas(), *children, *side.endpoint.tunnels.values(), side.endpoint.inquiries}
        assert set(side.endpoint.host.timers.owners()) <= live


def finish(coroutine: Coroutine[object, None, None]) -> None:
    """Run a coroutine that never waits, as those of the in-memory data plane are: there is no event loop here."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")
