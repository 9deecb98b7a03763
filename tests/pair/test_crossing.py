"""Both sides ask for an IKE SA at once, or two connections of one side do: there is one IKE SA in the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikeclone.connection import Auto
from ikeclone.crypto.registry import parse_ike
from ikeclone.ike.actions import Kind
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType
from ikeclone.wire.message import parse_message
from tests.pair.network import NAME, Network
from tests.pair.test_sharing import OTHER, agree, counts, living, moved, net_of_two, tunnel


def asked(net: Network) -> dict[ExchangeType, int]:
    """How many requests of the exchanges that make an IKE SA were sent, each counted once."""
    sent = {side: [parse_message(each.data).header for each in side.sent] for side in net.sides}
    requests = {(side, h.initiator_spi, h.exchange) for side in sent for h in sent[side] if not h.response}
    kinds = (ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH)
    return {kind: sum(exchange is kind for _, _, exchange in requests) for kind in kinds}


def one_tunnel(net: Network) -> None:
    net.run(60)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    assert [len(side.children) for side in net.sides] == [1, 1]
    net.assert_consistent()
    assert not net.west.kinds(Kind.FAILED) + net.east.kinds(Kind.FAILED)


@pytest.mark.parametrize("lead", [0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.05])
@pytest.mark.parametrize("seed", range(4))
def test_one_ike_sa_however_close_both_start(lead: float, seed: int) -> None:
    """Not even a second one is authenticated, wherever the two meet."""
    net = Network(seed=seed)
    net.west.up()
    net.run(lead)
    net.east.up()
    one_tunnel(net)
    assert asked(net)[ExchangeType.IKE_AUTH] == 1


@pytest.mark.parametrize("ike", ["aes_gcm256-sha2_256-dh31-ke1_ml_kem_768"])
@pytest.mark.parametrize("lead", [0.0, 0.015, 0.03, 0.045])
def test_with_additional_key_exchanges(ike: str, lead: float) -> None:
    net = Network(west={"ike": parse_ike(ike)}, east={"ike": parse_ike(ike)})
    net.west.up()
    net.run(lead)
    net.east.up()
    one_tunnel(net)
    assert asked(net)[ExchangeType.IKE_AUTH] == 1


@pytest.mark.parametrize("seed", range(8))
def test_over_a_bad_network(seed: int) -> None:
    net = Network(seed=seed)
    net.link.loss, net.link.jitter, net.link.repeat = 0.3, 0.2, 0.2
    for side in net.sides:
        side.up()
    net.run(200)
    net.link.loss = net.link.jitter = net.link.repeat = 0.0
    net.run(300)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    net.assert_consistent()


@pytest.mark.parametrize("seed", range(4))
def test_a_peer_that_does_not_go_on_is_not_waited_for(seed: int) -> None:
    """The IKE_AUTH of the one that would go first is lost, always: the other goes on after a moment."""
    net = Network(seed=seed)
    for side in net.sides:
        side.up()
    first = max(side.endpoint.tunnels[NAME].approach.initiation.local_spi for side in net.sides)  # type: ignore[union-attr]
    auth = ExchangeType.IKE_AUTH
    net.link.drop = lambda data: (
        (header := parse_message(data).header).exchange is auth and header.initiator_spi == first
    )
    net.run(5)
    assert [len(side.children) for side in net.sides] == [1, 1]


@pytest.mark.parametrize("lead", [0.0, 0.01, 0.02, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_two_connections_of_both_sides_share_an_ike_sa(lead: float, seed: int) -> None:
    net = net_of_two(seed=seed)
    for side in net.sides:
        for name in (NAME, OTHER):
            tunnel(side, name).wanted = True
            tunnel(side, name).up(net.now)
        net.settle(side)
        net.run(lead)
    net.run(60)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    assert counts(net) == [[1, 1], [1, 1]]
    assert asked(net)[ExchangeType.IKE_AUTH] == 1
    agree(net)


def test_two_connections_that_start_with_the_daemon_share_an_ike_sa() -> None:
    net = net_of_two()
    west = net.west.endpoint
    loaded = [replace(tunnel.connection, auto=Auto.START) for tunnel in west.tunnels.values()]
    for conn in loaded:
        west.add(conn, net.now)
    net.settle(net.west)
    net.run(5)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    assert counts(net) == [[1, 1], [1, 1]]
    assert asked(net) == {ExchangeType.IKE_SA_INIT: 1, ExchangeType.IKE_AUTH: 1}
    agree(net)


def test_one_that_waits_is_told_when_there_is_no_ike_sa() -> None:
    net = net_of_two()
    net.link.cut = True
    for name in (NAME, OTHER):
        tunnel(net.west, name).up(net.now)
    net.settle(net.west)
    assert tunnel(net.west, OTHER).approach.connecting
    net.run(20)
    assert {report.connection for report in net.west.kinds(Kind.FAILED)} == {NAME, OTHER}
    assert not tunnel(net.west, OTHER).approach.connecting


def test_one_that_waits_can_be_taken_down() -> None:
    net = net_of_two()
    for name in (NAME, OTHER):
        tunnel(net.west, name).up(net.now)
    tunnel(net.west, OTHER).down(net.now)
    net.settle(net.west)
    net.run(30)
    assert counts(net) == [[1, 0], [1, 0]]
    agree(net)


def test_the_ike_sa_stays_for_the_other_when_the_first_child_is_refused() -> None:
    """The peer has no such connection as the first: what waited for its IKE SA keeps that."""
    net = net_of_two()
    east = tunnel(net.east, NAME)
    east.connection = replace(east.connection, local=moved(moved(east.connection.local)))
    for name in (NAME, OTHER):
        tunnel(net.west, name).wanted = True
        tunnel(net.west, name).up(net.now)
    net.settle(net.west)
    net.run(5)
    assert counts(net) == [[0, 1], [0, 1]]
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    agree(net)
