"""Connections that are taken out of an endpoint while it works, and credentials that become others. West does so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from ikeclone.connection import Auto, Identity, Secret
from ikeclone.credentials import Credentials
from ikeclone.ike.actions import Kind
from ikeclone.ike.removal import Removal
from ikeclone.ike.state import State
from tests.pair.certified import ROOT, Host, attempt, certified, issue
from tests.pair.network import EAST_END, KEY, NAME, START, Network, Side
from tests.pair.scenario import ike_sa
from tests.pair.test_instances import road, up, warrior
from tests.pair.test_resume import RESUMING
from tests.pair.test_sharing import OTHER, act, both_up, living
from tests.unit.pki.test_revocation import crl


def remove(side: Side, name: str = NAME, seconds: float = 1) -> Removal:
    """Take a connection out; what there is of it after a while."""
    removal = Removal(side.endpoint, name, side.network.now)
    side.network.settle(side)
    side.network.run(seconds)
    return removal


def end(side: Side, removal: Removal) -> None:
    removal.finish(side.network.now)
    side.network.settle(side)


def nothing_left(side: Side) -> None:
    endpoint, backend = side.endpoint, side.backend
    assert [*endpoint.ike_sas(), *endpoint.tunnels, *endpoint.configured] == []
    assert [*backend.installed, *backend.policies, *backend.reserved] == []


@pytest.mark.parametrize("auto", list(Auto)[1:])
def test_the_peer_is_told_and_it_does_not_come_back(auto: Auto) -> None:
    net = Network(west={"auto": auto}).established()
    removal = remove(net.west)
    assert removal.done
    end(net.west, removal)
    nothing_left(net.west)
    assert net.east.kinds(Kind.IKE_DOWN)
    net.run(400)
    nothing_left(net.west)


def test_one_that_was_never_up_with_traps() -> None:
    net = Network(west={"auto": Auto.ONDEMAND})
    assert net.west.backend.policies
    end(net.west, remove(net.west, seconds=0))
    nothing_left(net.west)


@pytest.mark.parametrize("ike", [True, False])
def test_a_peer_that_does_not_answer(ike: bool) -> None:
    """Also in the middle of a rekey."""
    net = Network().established()
    net.link.cut = True
    net.west.rekey(ike=ike)
    removal = remove(net.west)
    assert not removal.done
    end(net.west, removal)
    nothing_left(net.west)
    net.run(400)
    nothing_left(net.west)


def test_another_one_of_its_name_takes_its_place() -> None:
    net = Network().established()
    before = ike_sa(net.east)
    end(net.west, remove(net.west))
    net.west.endpoint.add(replace(net.west.conn, auto=Auto.START), net.now)
    net.settle(net.west)
    net.run(2)
    assert ike_sa(net.east) is not before
    net.assert_consistent()


def test_an_ike_sa_that_others_use_stays() -> None:
    net = both_up()
    removal = remove(net.west)
    assert removal.done
    end(net.west, removal)
    assert [*net.west.endpoint.tunnels] == [OTHER]
    assert living(net.west) == [State.ESTABLISHED]
    assert len(net.west.endpoint.tunnels[OTHER].clones.children) == 1
    act(net.west, "down", OTHER)
    assert living(net.west) == []


def test_who_has_not_authenticated_yet_gets_none() -> None:
    """The half-open IKE SA is that of the first of two that it may be for; it would be for the second."""
    net = Network(west={"remote": replace(EAST_END, identity=Identity.parse("@nobody"))}).hold()
    net.west.endpoint.add(replace(net.west.conn, name=OTHER, remote=EAST_END), net.now)
    net.east.up()
    net.west.take()
    assert [sa.tunnel.connection.name for sa in net.west.endpoint.ike_sas()] == [NAME]
    end(net.west, remove(net.west, OTHER, seconds=0))
    net.release()
    net.run(2)
    assert any("no connection from @east" in report.text for report in net.west.reports)
    assert living(net.west) == living(net.east) == []


def test_who_is_half_way_in_is_forgotten() -> None:
    net = Network().hold()
    net.east.up()
    net.west.take()
    end(net.west, remove(net.west, seconds=0))
    nothing_left(net.west)


def test_the_instances_of_one_for_anyone() -> None:
    net = road()
    third = warrior(net, 7)
    up(net.west, third)
    assert len(net.east.endpoint.tunnels) == 3
    removal = remove(net.east)
    assert removal.done
    end(net.east, removal)
    nothing_left(net.east)


def test_an_ike_sa_whose_last_answer_may_be_repeated() -> None:
    net = Network().established()
    act(net.east, "down", NAME)
    assert [sa.state for sa in net.west.endpoint.ike_sas()] == [State.DEAD]
    end(net.west, remove(net.west, seconds=0))
    nothing_left(net.west)


def test_its_tickets_are_no_good_any_more() -> None:
    """Another connection of its name may want another proof."""
    net = Network(west=RESUMING, east=RESUMING).established()
    session = net.west.endpoint.tunnels[NAME].resumption.session
    assert session is not None
    assert net.east.endpoint.tickets.session(session.ticket, net.now)
    Removal(net.east.endpoint, NAME, net.now)
    assert net.east.endpoint.tickets.session(session.ticket, net.now) is None


def test_other_keys_are_used_from_then_on() -> None:
    """What is established stays; what is authenticated afterwards is so with what is known then."""
    net = Network().established()
    other = Credentials((Secret(KEY.secrets[0].identities, b"another secret of the pair tests"),))
    net.west.endpoint.learn(other)
    net.run(10)
    assert len(net.west.children) == 1
    net.west.endpoint.tunnels[NAME].reauth.start(net.now)
    net.settle(net.west)
    net.run(2)
    assert "AUTHENTICATION_FAILED" in " ".join(report.text for report in net.west.reports)


def test_a_certificate_that_was_revoked_meanwhile() -> None:
    east = issue("east")
    net = certified(east=Host(east))
    lists = crl(ROOT, east, begins=START - timedelta(days=1), ends=START + timedelta(days=1))
    revoked = replace(net.west.credentials.revocation, lists=(lists,))
    net.west.endpoint.learn(replace(net.west.credentials, revocation=revoked))
    attempt(net)
    assert "revoked" in " ".join(report.text for report in net.west.reports)
