"""What the tests of clones share: traffic on every CPU, and what must hold once everybody has what it wants."""

from __future__ import annotations

from collections import Counter

from ikeclone.connection import Timing
from ikeclone.ike.create_child import CreateChild
from ikeclone.ike.exchange import Exchange, Payloads
from ikeclone.ike.informational import DeleteChildren
from ikeclone.ike.negotiation import Request
from ikeclone.ike.sa import IkeSa
from ikeclone.numbers import ExchangeType
from ikeclone.wire.message import parse_message
from tests.pair.network import NAME, Network, Side

# Long enough for any of many exchanges to get through a network that loses three in ten messages.
PATIENT = Timing(margin=60, retransmit_timeout=2000)


def traffic(net: Network, *sides: Side) -> None:
    """A packet on every CPU of these sides, or of both."""
    for side in sides or net.sides:
        for cpu in sorted(side.backend.online):
            side.packet(cpu)


def traffic_until_quiet(net: Network, quiet: float = 20.0, interval: float = 0.5, limit: float = 5000.0) -> float:
    """Packets on every CPU until no message was needed for some time; the time of the last message."""
    count, since, end = len(net.seen), net.now, net.now + limit
    while net.now - since < quiet:
        assert net.now < end, "messages go on and on"
        traffic(net)
        net.run(interval)
        for side in net.sides:
            side.survey()
        if len(net.seen) != count or busy(net):
            count, since = len(net.seen), net.now
    return since


def busy(net: Network) -> bool:
    """Whether a request awaits its response or its turn."""
    return any(sa.requests.outstanding or sa.requests.queue for side in net.sides for sa in side.endpoint.ike_sas())


def assert_each_cpu_is_served_once(net: Network) -> None:
    """A CPU sends on one clone, and one that the peer took no clone for on the fallback."""
    for side, peer in (net.sides, net.sides[::-1]):
        clones = side.endpoint.tunnels[NAME].clones
        senders = Counter(child.cpu for child in side.children if child.active)
        assert set(senders.values()) == {1}
        assert None in senders
        assert senders.keys() <= side.backend.online | {None}
        assert {cpu for _, cpu in side.backend.outbound} == senders.keys()
        assert served_by_us(side) == Counter(c.cpu for c in clones.clones if c.opened_by_us)
        if senders.keys() != side.backend.online | {None}:
            assert clones.refused_until > net.now
            assert taken(peer) == 2 * len(peer.backend.online)
    net.assert_consistent()


def served_by_us(side: Side) -> Counter[int | None]:
    """The CPUs that a side opened clones for: one each."""
    return Counter(dict.fromkeys((c.cpu for c in side.children if c.opened_by_us and c.cpu is not None), 1))


def taken(side: Side) -> int:
    """How many clones a side took from its peer."""
    return sum(not c.opened_by_us and c.cpu is not None for c in side.children)


def cpus(side: Side) -> list[int | None]:
    """The CPUs of a side's Child SAs, the fallback's first."""
    return sorted((c.cpu for c in side.children), key=lambda cpu: -1 if cpu is None else cpu)


def requests(side: Side, exchange: ExchangeType) -> list[int]:
    """The message IDs of a side's requests of a kind, each once."""
    headers = [parse_message(sent.data).header for sent in side.sent]
    return sorted({h.message_id for h in headers if h.exchange is exchange and not h.response})


class ForeignChild(CreateChild):
    """A request of a peer with other habits than ours: whenever it likes, with whatever it likes in the notify."""

    def __init__(self, sa: IkeSa, cpu: int | None, resource: bytes | None) -> None:
        super().__init__(sa, sa.tunnel, cpu)
        self._resource = resource

    def request(self, now: float) -> Payloads:
        self._clones.queued.discard(self.cpu)
        self._request = Request(self.sa, self.sa.tunnel.connection, self.cpu, self._resource)
        return self._request.payloads()


def ask(side: Side, exchange: Exchange) -> None:
    """Let a side start an exchange."""
    exchange.sa.enqueue(exchange, side.network.now)
    side.network.settle(side)


def create(side: Side, cpu: int | None, resource: bytes | None, count: int = 1) -> None:
    """Let a side make Child SAs, with these data in SA_RESOURCE_INFO or with None without it."""
    assert side.ike is not None
    for _ in range(count):
        ask(side, ForeignChild(side.ike, cpu, resource))


def delete(side: Side, *instances: int) -> None:
    """Delete a side's Child SAs with these instance numbers."""
    assert side.ike is not None
    going = [child for child in side.children if child.instance in instances]
    assert going
    ask(side, DeleteChildren(side.ike, going))
