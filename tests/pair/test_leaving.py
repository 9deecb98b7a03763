"""A connection gets another IKE SA than the one that it shares, and leaves that to the others without a gap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.connection import Childless, Timing
from ikeclone.ike.state import State
from tests.pair.network import NAME, Network, Side
from tests.pair.scenario import accepted
from tests.pair.test_sharing import OTHER, act, agree, living, moved, ping_both, tunnel

TIMING = Timing(margin=60, dpd_delay=10, retransmit_timeout=60)


def shared(first: str, childless: Childless, seed: int = 0) -> Network:
    """Two connections on one IKE SA, `first` up before the other one."""
    said: dict[str, object] = {"timing": TIMING, "childless": childless}
    net = Network(west=said, east=said, seed=seed)
    for side in net.sides:
        conn = side.conn
        side.endpoint.add(replace(conn, name=OTHER, local=moved(conn.local), remote=moved(conn.remote)), net.now)
    for name in (first, OTHER if first == NAME else NAME):
        act(net.west, "up", name)
    return net


def regular(net: Network) -> list[list[int]]:
    """How many Child SAs bound to no CPU each connection has, west's and east's."""
    return [[len([c for c in tunnel(side, n).clones if c.cpu is None]) for n in (NAME, OTHER)] for side in net.sides]


def ask_alone(side: Side) -> None:
    """Ask for an IKE SA for the second connection alone."""
    tunnel(side, OTHER).approach.ask(side.network.now)
    side.network.settle(side)


def bad_weather(net: Network, loss: float) -> None:
    """Messages are lost; all the time each side has an SA of each connection to send on that the other accepts."""
    net.link.loss = loss

    def watch() -> None:
        assert all(accepted(side, 0, name) for side in net.sides for name in (NAME, OTHER))

    net.watch = watch


def fair_weather(net: Network) -> None:
    """Nothing is lost any more, not even what the connections carry."""
    net.link.loss = 0.0
    net.run(60)
    ping_both(net, 1)


@pytest.mark.parametrize("of", ["west", "east"])
@pytest.mark.parametrize("seed", range(6))
def test_each_connection_can_send_while_one_leaves(of: str, seed: int) -> None:
    """The Child SA on the former IKE SA goes when the new one sends, however long the peer takes for that."""
    net = shared(NAME, Childless.ALLOW, seed)
    bad_weather(net, 0.3 if seed else 0.0)
    ask_alone(getattr(net, of))
    net.run(30)
    fair_weather(net)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED, State.ESTABLISHED]
    assert regular(net) == [[1, 1], [1, 1]]
    for side in net.sides:
        assert tunnel(side, NAME).ike is not tunnel(side, OTHER).ike
    agree(net)


@pytest.mark.parametrize("of", ["west", "east"])
@pytest.mark.parametrize("seed", range(6))
def test_each_can_send_while_the_owners_of_their_ike_sa_differ(of: str, seed: int) -> None:
    """Without a Child SA in IKE_AUTH the responder cannot tell for which connection an IKE SA is."""
    net = shared(OTHER, Childless.PREFER, seed)
    assert tunnel(net.west, NAME).ike is tunnel(net.west, OTHER).ike
    owners = [next(iter(side.endpoint.ike_sas())).tunnel.connection.name for side in net.sides]
    assert owners == [OTHER, NAME]
    bad_weather(net, 0.3 if seed else 0.0)
    tunnel(getattr(net, of), NAME).rekey(net.now, False, reauth=True)
    net.settle(getattr(net, of))
    net.run(30)
    fair_weather(net)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    assert regular(net) == [[1, 1], [1, 1]]
    agree(net)


def test_a_connection_that_goes_down_while_it_leaves_is_down() -> None:
    net = shared(NAME, Childless.ALLOW)
    ask_alone(net.west)
    net.run_until(lambda: tunnel(net.east, OTHER).ike is not tunnel(net.east, NAME).ike)
    act(net.east, "down", OTHER)
    net.run(60)
    assert regular(net) == [[1, 0], [1, 0]]
    agree(net)
