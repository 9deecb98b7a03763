"""What the exchange scenarios share: a tunnel whose messages are delivered by hand, and what must hold at its end."""

from __future__ import annotations

from collections.abc import Mapping

from ikeclone.crypto.registry import parse_esp, parse_ike
from ikeclone.ike.actions import Kind
from ikeclone.ike.child import Child, ChildState
from ikeclone.ike.informational import DeleteChildren, DeleteIke
from ikeclone.ike.sa import IkeSa
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import parse_message
from ikeclone.wire.payloads import Delete, Notify
from tests.pair.network import ESP, IKE, NAME, Network, Side

# The four nonces of two exchanges that collide. The SA made with the lowest is redundant (RFC 7296 section 2.8.1).
NONCES = ("west's request", "east's answer", "east's request", "west's answer")
OF_WEST = NONCES[:2]

# CREATE_CHILD_SA and two rounds of IKE_FOLLOWUP_KE, for Child SAs and for IKE SAs (RFC 9370).
MULTI_KE = {
    "ike": parse_ike(f"{IKE}-ke1_ecp256-ke2_x448"),
    "esp": parse_esp(f"{ESP}-dh31-ke1_ecp256-ke3_x448"),
}
# A responder takes what itself prefers: west's exchanges have additional key exchanges, east's have none.
MIXED = {
    "west": {"ike": parse_ike(IKE) + MULTI_KE["ike"], "esp": parse_esp(f"{ESP}-dh31") + MULTI_KE["esp"]},
    "east": {"ike": MULTI_KE["ike"] + parse_ike(IKE), "esp": MULTI_KE["esp"] + parse_esp(f"{ESP}-dh31")},
}


def by_hand(
    west: Mapping[str, object] | None = None, east: Mapping[str, object] | None = None, seed: int = 1, /, **both: object
) -> Network:
    """A tunnel with one regular Child SA; every further IKE message waits to be taken."""
    settings = {"clones": 0, **both}
    net = Network(seed=seed, west={**settings, **(west or {})}, east={**settings, **(east or {})}).established().hold()
    for side in net.sides:
        side.reports.clear()
    return net


def draw(side: Side, nonce: str, lowest: str) -> None:
    """Let a side's next nonce be the lowest of all, or not."""
    side.first_octet = 0x00 if nonce == lowest else 0xFF


def cross(net: Network, lowest: str, *, ike: bool = False) -> None:
    """Both sides ask for a rekey at once, and both answer: the answers wait."""
    draw(net.west, "west's request", lowest)
    net.west.rekey(ike=ike)
    draw(net.east, "east's request", lowest)
    net.east.rekey(ike=ike)
    draw(net.east, "east's answer", lowest)
    net.east.take()
    draw(net.west, "west's answer", lowest)
    net.west.take()


def only_child(side: Side) -> Child:
    """The one Child SA that a side has."""
    (child,) = side.children
    return child


def ike_sa(side: Side) -> IkeSa:
    """The connection's IKE SA."""
    assert side.ike is not None
    return side.ike


def delete(side: Side, child: Child) -> None:
    """Delete one Child SA."""
    sa = ike_sa(side)
    sa.enqueue(DeleteChildren(sa, (child,)), side.network.now)
    side.network.settle(side)


def delete_ike(side: Side) -> None:
    """Delete the IKE SA."""
    sa = ike_sa(side)
    sa.finish(DeleteIke(sa, "by hand"), side.network.now)
    side.network.settle(side)


def notifies(side: Side, index: int = 0) -> set[NotifyType]:
    """The notifies in a datagram that waits for a side."""
    return {notify.type for notify in side.read(index).all(Notify)}


def deleted(side: Side, index: int = 0) -> list[int]:
    """The ESP SPIs that a datagram which waits for a side deletes."""
    return [int.from_bytes(spi, "big") for delete in side.read(index).all(Delete) for spi in delete.spis]


def rounds(net: Network) -> int:
    """How many requests of IKE_FOLLOWUP_KE there were, each counted once."""
    headers = {parse_message(datagram.data).header for datagram in net.seen}
    return sum(h.exchange is ExchangeType.IKE_FOLLOWUP_KE and not h.response for h in headers)


def follow(us: Side, peer: Side, index: int = 0) -> None:
    """Two rounds of IKE_FOLLOWUP_KE that we ask for, those that wait first; `index` is ours in the peer's inbox."""
    for _ in range(2):
        assert peer.read(index).header.exchange is ExchangeType.IKE_FOLLOWUP_KE
        peer.take(index)
        us.take(len(us.inbox) - 1)


def states(side: Side) -> list[ChildState]:
    """The states of a side's Child SAs, the oldest first."""
    return [child.state for child in side.children]


def accepted(side: Side, cpu: int, name: str = NAME) -> bool:
    """Whether a CPU of this side has an SA of a connection to send on that its peer receives on.

    Of a new SA the peer may not have our answer yet: it is sent on after a while, for it may not be ours to know.
    """
    spi = side.backend.outbound.get((name, cpu)) or side.backend.outbound.get((name, None))
    if spi is None:
        return False
    sa, peer = side.backend.installed[spi], side.network.peer(side).backend
    theirs = peer.installed.get(sa.outbound_spi)
    if theirs is None:
        return sa.replaces is None and sa.outbound_spi in peer.reserved
    return theirs.inbound_keys == sa.outbound_keys


def watched(net: Network) -> Network:
    """From now on each CPU of both sides has an SA that the peer accepts, at every moment."""

    def watch() -> None:
        assert all(accepted(side, cpu) for side in net.sides for cpu in side.backend.cpus())

    net.watch = watch
    return net


def assert_carries(net: Network) -> None:
    """Packets of both sides cross the network."""
    for side in net.sides:
        assert side.packet(0)
    net.run(1)
    assert net.lost_packets == []


def assert_one_tunnel(net: Network) -> None:
    """After all that waits has arrived: one IKE SA, one Child SA, in use on both sides."""
    net.release()
    net.run(120)
    for side in net.sides:
        assert [sa.state for sa in side.endpoint.ike_sas()] == [State.ESTABLISHED]
        child = only_child(side)
        assert (child.state, child.active) == (ChildState.INSTALLED, True)
    net.assert_consistent()
    assert_carries(net)


def assert_never_down(net: Network) -> None:
    """Neither side has told of a tunnel that went down or came up."""
    for side in net.sides:
        assert side.kinds(Kind.CHILD_UP, Kind.CHILD_DOWN, Kind.IKE_UP, Kind.IKE_DOWN, Kind.FAILED) == []


def assert_no_child(net: Network) -> None:
    """After all that waits has arrived: one IKE SA without Child SAs on both sides."""
    net.release()
    net.run(120)
    for side in net.sides:
        assert [sa.state for sa in side.endpoint.ike_sas()] == [State.ESTABLISHED]
        assert side.children == []
    net.assert_consistent()


def assert_nothing(net: Network) -> None:
    """After all that waits has arrived: no SA on either side, and no timer."""
    net.release()
    net.run(120)
    for side in net.sides:
        assert list(side.endpoint.ike_sas()) == []
        assert side.children == []
        assert side.endpoint.host.timers.owners() == ()
    net.assert_consistent()


def failure(side: Side) -> str:
    """The last thing that a side reports as failed."""
    return side.kinds(Kind.FAILED)[-1].text


def assert_nothing_left(net: Network) -> None:
    """Neither data plane nor endpoint holds anything of a failed attempt, once it is over."""
    net.run(200)
    for side in net.sides:
        assert side.backend.installed == {}
        assert side.backend.reserved == set()
        assert side.backend.policies == {}
        assert not list(side.endpoint.ike_sas())
        assert side.endpoint.host.timers.owners() == ()
