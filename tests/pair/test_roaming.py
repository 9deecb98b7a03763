"""A host whose addresses change, without MOBIKE: SAs wait for a fixed address and are made anew from any other."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from ikeclone.connection import Auto, Timing
from ikeclone.errors import LocalError
from ikeclone.ike.actions import Kind
from tests.pair.network import EAST, EAST_END, NAME, WEST, WEST_END, Network
from tests.pair.scenario import ike_sa

ROAMED = "198.51.100.7"
ANYWHERE = replace(WEST_END, address=None)
TIMING = Timing(margin=60, retransmit_timeout=20)


def dynamic(**west: object) -> Network:
    """West is wherever it is, and east takes it from anywhere."""
    return Network(west={"local": ANYWHERE, "timing": TIMING, **west}, east={"remote": ANYWHERE, "timing": TIMING})


def carries(net: Network) -> bool:
    """Whether packets of west arrive."""
    sent = net.west.packet(0)
    net.run(1)
    return sent and not net.lost_packets


def test_another_ike_sa_from_another_address() -> None:
    net = dynamic().established()
    former = ike_sa(net.west)
    assert former.path.local == WEST
    net.west.addresses(ROAMED)
    net.run(1)
    assert ike_sa(net.west) is not former
    assert ike_sa(net.west).path.local == ike_sa(net.east).path.remote == ip_address(ROAMED)
    assert len(list(net.east.endpoint.ike_sas())) == 1
    net.assert_consistent()
    assert carries(net)


def test_no_address_is_no_reason_to_end() -> None:
    net = dynamic().established()
    former = ike_sa(net.west)
    net.west.addresses()
    net.run(5)
    assert ike_sa(net.west) is former
    net.west.addresses(str(WEST))
    net.run(1)
    assert ike_sa(net.west) is former
    assert carries(net)


def test_the_peer_of_the_one_who_asked_waits() -> None:
    """East cannot ask for an IKE SA, so it keeps what it has."""
    net = dynamic().established()
    net.east.addresses("192.1.2.24")
    net.run(5)
    assert net.east.kinds(Kind.IKE_DOWN) == []


@pytest.mark.parametrize("messages", [0, 1])
def test_an_address_that_goes_in_the_middle_of_it(messages: int) -> None:
    net = dynamic(auto=Auto.START).hold()
    net.west.down()
    net.west.up()
    for _ in range(messages):
        net.east.take()
        net.west.take()
    net.east.inbox.clear()
    net.west.addresses(ROAMED)
    net.release()
    net.run(1)
    assert ike_sa(net.west).path.local == ip_address(ROAMED)
    assert carries(net)


def test_a_fixed_address_is_waited_for() -> None:
    net = Network(west={"timing": TIMING}, east={"timing": TIMING}).established()
    former = ike_sa(net.west)
    net.west.addresses(ROAMED)
    net.west.rekey()
    net.run(10)
    assert ike_sa(net.west) is former
    net.west.addresses(ROAMED, str(WEST))
    net.run(1)
    assert net.west.kinds(Kind.CHILD_REKEYED)
    net.assert_consistent()
    assert carries(net)


def test_a_fixed_address_that_is_not_there() -> None:
    net = Network()
    net.west.addresses(ROAMED)
    with pytest.raises(LocalError, match=r"this host does not have 192\.1\.2\.45 for packets to 192\.1\.2\.23"):
        net.west.up()
    net = Network(west={"auto": Auto.START})
    net.west.addresses()
    net.west.start()
    net.run(30)
    assert net.west.ike is None
    net.west.addresses(str(WEST))
    net.run(1)
    assert carries(net)


def test_mobike_starts_from_whatever_address_there_is() -> None:
    net = Network(west={"mobike": True}, east={"mobike": True, "remote": ANYWHERE})
    net.west.addresses(ROAMED)
    net.established()
    assert ike_sa(net.west).path.local == ip_address(ROAMED)
    assert carries(net)


def test_the_address_for_a_certain_peer() -> None:
    """The first one is for elsewhere; the system sends to this peer from the second."""
    net = dynamic()
    net.west.own = (ip_address(ROAMED), WEST)
    net.west.endpoint.addresses(net.west.own, net.now, {EAST: WEST})
    net.established()
    assert ike_sa(net.west).path.local == WEST


def test_the_first_packet_of_a_host_with_any_address() -> None:
    net = dynamic(auto=Auto.ONDEMAND, local=replace(ANYWHERE, selectors=()))
    (policy,) = net.west.backend.policies.values()
    assert [str(selector) for selector in policy.local] == ["192.1.2.45/32"]
    net.west.addresses(ROAMED)
    (policy,) = net.west.backend.policies.values()
    assert [str(selector) for selector in policy.local] == [f"{ROAMED}/32"]
    assert policy.path.local == ip_address(ROAMED)


def test_packets_bring_up_what_has_an_address_by_then() -> None:
    """auto=ondemand on a host that is not on the network yet."""
    net = Network(west={"auto": Auto.ONDEMAND})
    net.west.own = ()
    net.west.backend.policies.clear()
    net.west.start()
    assert net.west.backend.policies == {}
    net.west.addresses(str(WEST))
    assert net.west.backend.policies[NAME].path.local == WEST
    net.west.packet(0)
    net.run(2)
    assert carries(net)


def test_packets_bring_up_nothing_whose_peer_may_be_anywhere() -> None:
    net = Network(west={"auto": Auto.ONDEMAND, "remote": replace(EAST_END, address=None)})
    assert net.west.backend.policies == {}
    net.east.up()
    net.run(2)
    (policy,) = net.west.backend.policies.values()
    assert policy.path.remote == EAST


def test_addresses_of_sas_are_listened_on_until_they_are_gone() -> None:
    net = Network().established()
    net.west.addresses(ROAMED)
    assert set(net.west.endpoint.local_addresses()) == {WEST}
    net.west.down()
    net.run(300)
    assert set(net.west.endpoint.local_addresses()) == set()
