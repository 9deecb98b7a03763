"""Resumption together with what else a connection may have. West is the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ikeclone.connection import Childless, Choice, Ppk
from ikeclone.ike.state import State
from tests.pair.network import NAME, WEST_END, Network, connection
from tests.pair.test_instances import ANYONE, KEY, instances, warrior
from tests.pair.test_internal_addresses import ANYONE as LEASING
from tests.pair.test_internal_addresses import ASKING, address, held
from tests.pair.test_resume import RESUMING, TIMING, exchanges, lose, one_tunnel
from tests.pair.test_sharing import OTHER, act, counts, living, moved

GATEWAY = {"resumption": True}


def network(west: Mapping[str, object] | None = None, east: Mapping[str, object] | None = None) -> Network:
    return Network(west={**RESUMING, **(west or {})}, east={**GATEWAY, **(east or {})})


def resume(net: Network) -> None:
    lose(net)
    net.run_until(lambda: len(net.west.children) == 1)
    assert exchanges(net.west)[:2] == ["IKE_SESSION_RESUME", "IKE_AUTH"]
    assert "IKE_SA_INIT" not in exchanges(net.west)
    net.run(60)


def test_the_client_keeps_its_address() -> None:
    """It asks for the address that it had, and the gateway has kept it (section 5, note 5)."""
    net = network({"local": ASKING}, {"remote": LEASING})
    for side in net.sides:
        side.endpoint.credentials = side.credentials = KEY
    other = net.add("198.51.100.9", connection(replace(ASKING, address=None), net.west.conn.remote))
    net.west.up()
    net.run(2)
    (had,) = address(net.west)
    assert other.ike is None
    for _ in range(2):
        resume(net)
        assert address(net.west) == [had]
        assert held(net) == {had: "@west"}


@pytest.mark.parametrize("wanted", [Choice.AUTO, Choice.YES], ids=["propose", "insist"])
def test_with_a_postquantum_key(wanted: Choice) -> None:
    """The former keys were made of it, and so are the new ones: it is not asked for again."""
    net = network({"ppk": wanted}, {"ppk": wanted})
    for side in net.sides:
        side.endpoint.credentials = replace(side.endpoint.credentials, ppks=(Ppk((), b"one", b"1" * 32),))
    net.established()
    resume(net)
    one_tunnel(net)


def test_an_instance_is_resumed_and_no_other() -> None:
    net = network(None, {"remote": ANYONE})
    third = warrior(net, 7)
    for side in (*net.sides, third):
        side.endpoint.credentials = side.credentials = KEY
    for side in (net.west, third):
        side.up()
        net.run(2)
    before = {name: tunnel.ike for name, tunnel in instances(net).items()}
    resume(net)
    after = {name: tunnel.ike for name, tunnel in instances(net).items()}
    assert list(after) == list(before) == [f"{NAME}[1]", f"{NAME}[2]"]
    assert after[f"{NAME}[1]"] is not before[f"{NAME}[1]"]
    assert after[f"{NAME}[2]"] is before[f"{NAME}[2]"]
    assert living(net.east) == [State.ESTABLISHED] * 2
    assert len(instances(net)[f"{NAME}[1]"].clones.children) == 1


def test_two_connections_on_one_ike_sa() -> None:
    """Both come back on the one that is resumed."""
    net = network()
    for side in net.sides:
        local, remote = moved(side.conn.local), moved(side.conn.remote)
        side.endpoint.add(replace(side.conn, name=OTHER, local=local, remote=remote), net.now)
    for name in (NAME, OTHER):
        act(net.west, "up", name)
    assert counts(net) == [[1, 1], [1, 1]]
    net.west.endpoint.tunnels[OTHER].wanted = True
    lose(net)
    net.run_until(lambda: counts(net)[0] == [1, 1])
    assert exchanges(net.west)[:2] == ["IKE_SESSION_RESUME", "IKE_AUTH"]
    assert "IKE_SA_INIT" not in exchanges(net.west)
    net.run(60)
    assert counts(net) == [[1, 1], [1, 1]]
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]


@pytest.mark.parametrize("wanted", [Childless.PREFER, Childless.FORCE])
def test_without_a_child_sa_in_ike_auth(wanted: Childless) -> None:
    net = network({"childless": wanted}, {"childless": wanted}).established()
    resume(net)
    assert exchanges(net.west)[:3] == ["IKE_SESSION_RESUME", "IKE_AUTH", "CREATE_CHILD_SA"]
    one_tunnel(net)


def test_from_another_address() -> None:
    """A client that has moved resumes from there (section 4.3.2)."""
    net = network({"local": replace(WEST_END, address=None)}, {"remote": ANYONE, "mobike": False})
    for side in net.sides:
        side.endpoint.credentials = side.credentials = KEY
    net.west.up()
    net.run(2)
    net.link.cut = True
    net.west.addresses("192.1.2.46")
    net.run(2 * TIMING.retransmit_timeout + 10)
    net.west.sent.clear()
    net.link.cut = False
    net.run_until(lambda: len(net.west.children) == 1)
    assert [each for each in exchanges(net.west) if each != "IKE_SESSION_RESUME"][:1] == ["IKE_AUTH"]
    net.run(60)
    assert living(net.west) == living(net.east) == [State.ESTABLISHED]
    assert list(instances(net)) == [f"{NAME}[1]"]
