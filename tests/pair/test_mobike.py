"""MOBIKE: ends that get other addresses, and those who say so in their place (RFC 4555)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from ikeclone.backend import Path
from ikeclone.connection import Auto, Choice, Timing
from ikeclone.ike.actions import Datagram, Kind
from ikeclone.ike.host import Settings
from ikeclone.ike.informational import Liveness
from ikeclone.ike.mobike import MAX_ADDRESSES, MAX_CLAIMS
from ikeclone.ike.probes import Tell
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.payloads import Notify
from tests.pair.groups import ask
from tests.pair.nat import Nat
from tests.pair.network import EAST, NAME, WEST, Network, Side
from tests.pair.scenario import assert_carries, ike_sa, notifies
from tests.pair.test_strays import MALFORMED, answer

ROAMED, FARTHER, FORGED = "198.51.100.7", "203.0.113.7", "198.51.100.66"
SECOND = "192.1.2.24"


def mobile(**both: object) -> Network:
    """Both sides have MOBIKE."""
    common = {"mobike": True, "timing": Timing(margin=60, dpd_delay=10), **both}
    return Network(west=common, east=common)


@pytest.fixture
def net() -> Network:
    return mobile().established()


def between(net: Network, west: str, east: str = str(EAST)) -> bool:
    """Whether IKE and every Child SA of both sides have this pair of addresses."""
    pair = ip_address(west), ip_address(east)
    paths = {(net.west, pair), (net.east, pair[::-1])}
    return all(
        (path.local, path.remote) == wanted
        for side, wanted in paths
        for path in (ike_sa(side).path, *(sa.path for sa in side.backend.installed.values()))
    )


def moves(net: Network, side: Side | None = None) -> int:
    return len((side or net.east).kinds(Kind.MOVED))


def test_ike_is_on_port_4500_although_there_is_no_nat(net: Network) -> None:
    assert ike_sa(net.west).path == Path(WEST, EAST, 4500, 4500)
    assert ike_sa(net.east).path == Path(EAST, WEST, 4500, 4500)
    assert not any(sa.udp_encapsulation for side in net.sides for sa in side.backend.installed.values())


@pytest.mark.parametrize("sides", [(True, False), (False, True)])
def test_without_both_there_is_none(sides: tuple[bool, bool]) -> None:
    net = Network(west={"mobike": sides[0]}, east={"mobike": sides[1]}).established()
    assert all(ike_sa(side).mobike is None for side in net.sides)


def test_the_initiator_gets_another_address(net: Network) -> None:
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.run(3)
    net.west.addresses(ROAMED)
    net.run(1)
    assert between(net, ROAMED)
    assert len(net.east.backend.installed) == 3
    net.assert_consistent()
    assert_carries(net)
    net.run(60)
    assert moves(net) == 1
    assert net.west.kinds(Kind.IKE_DOWN) == net.east.kinds(Kind.IKE_DOWN) == []


def test_the_responder_gets_another_address(net: Network) -> None:
    net.east.addresses(SECOND)
    net.run(1)
    assert between(net, str(WEST), SECOND)
    assert_carries(net)


def test_both_move_at_once_when_one_has_told_of_its_other_address() -> None:
    net = mobile()
    net.east.addresses(str(EAST), SECOND)
    net.established()
    net.east.addresses(SECOND)
    net.west.addresses(ROAMED)
    net.run(30)
    assert between(net, ROAMED, SECOND)
    assert_carries(net)


def test_a_dead_path_is_left_for_another_one() -> None:
    """Nobody tells: the peer does not answer liveness, and has a second address."""
    net = mobile()
    net.east.addresses(str(EAST), SECOND)
    net.established()
    net.east.own = (ip_address(SECOND),)
    net.run(30)
    assert between(net, str(WEST), SECOND)
    assert_carries(net)


def test_no_address_at_all_for_a_while(net: Network) -> None:
    net.west.addresses()
    net.run(20)
    net.west.addresses(FARTHER)
    net.run(5)
    assert between(net, FARTHER)
    assert_carries(net)


def test_the_cookie_comes_back_before_anything_is_sent_there(net: Network) -> None:
    net.hold()
    net.west.addresses(ROAMED)
    assert notifies(net.east) >= {NotifyType.UPDATE_SA_ADDRESSES, NotifyType.NAT_DETECTION_SOURCE_IP}
    net.east.take()
    assert ike_sa(net.east).path.remote == ip_address(ROAMED)
    assert all(sa.path.remote == WEST for sa in net.east.backend.installed.values())
    cookie = next(i for i in range(len(net.west.inbox)) if net.west.read(i).notify(NotifyType.COOKIE2))
    net.west.take(cookie)
    assert notifies(net.east) == {NotifyType.COOKIE2}
    net.east.take()
    assert all(sa.path.remote == ip_address(ROAMED) for sa in net.east.backend.installed.values())
    net.release()
    net.run(1)
    assert between(net, ROAMED)


def from_elsewhere(datagram: Datagram, address: str) -> Datagram:
    return replace(datagram, path=replace(datagram.path, local=ip_address(address)))


def test_a_forged_source_sends_nothing_there(net: Network) -> None:
    """Somebody forwards the update from another address, before the real one arrives."""
    net.hold()
    net.west.addresses(ROAMED)
    net.receive(net.east, from_elsewhere(net.east.inbox[0], FORGED))
    assert ike_sa(net.east).path.remote == ip_address(FORGED)
    net.release()
    net.run(30)
    assert between(net, ROAMED)
    assert all(report.text.endswith(f"{ROAMED}[4500]") for report in net.east.kinds(Kind.MOVED))
    assert_carries(net)


def test_a_replayed_update_moves_nothing(net: Network) -> None:
    net.west.addresses(ROAMED)
    update = next(d for d in reversed(net.west.sent) if d.path.local == ip_address(ROAMED))
    net.run(5)
    for _ in range(20):
        net.receive(net.east, update)
        net.receive(net.east, from_elsewhere(update, FORGED))
    net.run(30)
    assert between(net, ROAMED)
    assert moves(net) == 1


def test_a_peer_that_is_not_where_it_says_stays_where_it_was(net: Network) -> None:
    """The update claims an address at which nobody answers."""
    net.hold()
    net.west.rekey()
    net.east.inbox.clear()
    net.west.addresses(ROAMED)
    net.east.inbox.clear()
    net.release()
    net.west.own = (ip_address(ROAMED),)
    net.link.loss = 1.0
    net.run(2)
    net.link.loss = 0.0
    net.run(30)
    assert between(net, ROAMED)
    net.assert_consistent()


@pytest.mark.parametrize("loss", [0.2, 0.4])
def test_moves_on_a_bad_link(loss: float) -> None:
    net = mobile().established()
    net.link.loss, net.link.repeat, net.link.jitter = loss, 0.3, 0.5
    for address in (ROAMED, FARTHER, str(WEST), ROAMED):
        net.west.addresses(address)
        net.west.rekey()
        net.run(7)
    net.link.loss = net.link.repeat = net.link.jitter = 0.0
    net.run(120)
    assert between(net, ROAMED)
    net.assert_consistent()
    assert_carries(net)


@pytest.mark.parametrize("ike", [False, True])
@pytest.mark.parametrize("who", ["west", "east"])
def test_a_move_in_the_middle_of_a_rekey(net: Network, who: str, ike: bool) -> None:
    side = getattr(net, who)
    side.rekey(ike=ike)
    net.west.addresses(ROAMED)
    net.run(30)
    assert between(net, ROAMED)
    net.assert_consistent()
    assert_carries(net)
    net.west.addresses(FARTHER)
    net.run(30)
    assert between(net, FARTHER)


def test_a_move_while_clones_are_opened(net: Network) -> None:
    for cpu in (0, 1):
        net.west.packet(cpu)
        net.east.packet(cpu)
    net.west.addresses(ROAMED)
    net.run(30)
    assert between(net, ROAMED)
    net.assert_consistent()
    assert_carries(net)


def test_a_clone_keeps_its_port() -> None:
    net = mobile(clones_encap=True).established()
    net.west.packet(0)
    net.run(3)
    before = {spi: sa.path.local_port for spi, sa in net.west.backend.installed.items()}
    assert len(set(before.values())) == 2
    net.west.addresses(ROAMED)
    net.run(3)
    assert {spi: sa.path.local_port for spi, sa in net.west.backend.installed.items()} == before
    assert between(net, ROAMED)


def test_a_nat_that_is_met_on_the_way_and_left_again() -> None:
    net = mobile().established()
    nat = net.nat = Nat(ip_address(ROAMED), ip_address(FARTHER))
    net.west.addresses(ROAMED)
    net.run(3)
    assert ike_sa(net.east).path.remote == ip_address(FARTHER)
    for side in net.sides:
        assert all(sa.udp_encapsulation for sa in side.backend.installed.values())
    assert ike_sa(net.west).abilities.nat.local
    before = ike_sa(net.east).path.remote_port
    nat.forget()
    net.run(30)
    assert ike_sa(net.east).path.remote_port != before
    net.nat = None
    net.west.addresses(str(WEST))
    net.run(3)
    assert between(net, str(WEST))
    for side in net.sides:
        assert not any(sa.udp_encapsulation for sa in side.backend.installed.values())
    assert_carries(net)


def test_a_nat_is_refused_where_none_may_be() -> None:
    """encapsulation=no: the update says that no NAT may change its addresses (RFC 4555 section 3.9)."""
    net = mobile(encapsulation=Choice.NO).established()
    net.nat = Nat(ip_address(ROAMED), ip_address(FARTHER))
    net.west.addresses(ROAMED)
    net.run(3)
    assert any("UNEXPECTED_NAT_DETECTED" in report.text for report in net.west.kinds(Kind.FAILED))
    assert all(sa.path.remote == WEST for sa in net.east.backend.installed.values())


def test_many_addresses_of_a_peer_are_remembered_up_to_a_limit(net: Network) -> None:
    """And no request goes out on more ways at a time."""
    many = [ip_address(f"203.0.113.{number}").packed for number in range(1, 100)]
    mobike = ike_sa(net.west).mobike
    assert mobike is not None
    mobike.remember(Notify(NotifyType.ADDITIONAL_IP4_ADDRESS, address) for address in many)
    assert len(mobike._theirs) == MAX_ADDRESSES + 1
    assert len(mobike._possible_ways()) == MAX_ADDRESSES


@pytest.mark.parametrize("cookies", [(), (Notify(NotifyType.COOKIE2, bytes(32)),)])
def test_a_wrong_cookie_ends_the_ike_sa(net: Network, cookies: tuple[Notify, ...]) -> None:
    mobike = ike_sa(net.west).mobike
    assert mobike is not None
    mobike.heed = lambda message: cookies  # type: ignore[method-assign]
    net.west.addresses(ROAMED)
    net.run(0.5)
    assert any("cookie" in report.text for report in net.east.kinds(Kind.IKE_DOWN))


def test_from_one_version_of_ip_to_the_other(net: Network) -> None:
    """East has told of its address of IPv6; west then has nothing else."""
    inside, outside = "2001:db8::1", "2001:db8::2"
    net.east.addresses(str(EAST), outside)
    net.run(1)
    net.west.addresses(inside)
    net.run(5)
    assert between(net, inside, outside)
    assert_carries(net)
    net.west.addresses(str(WEST))
    net.run(5)
    assert between(net, str(WEST))


def test_an_update_that_went_out_on_several_ways_is_followed_by_another(net: Network) -> None:
    """Which of them the peer took it from is not known (RFC 4555 section 3.6)."""
    net.link.cut = True
    net.west.addresses(ROAMED)
    net.west.addresses(ROAMED, FARTHER)
    net.run(8)
    net.link.cut = False
    net.run(60)
    assert between(net, str(ike_sa(net.west).path.local))
    assert_carries(net)


def test_a_cookie_that_comes_back_late(net: Network) -> None:
    """East has given up on where west says it is, and hears from there again."""
    net.west.addresses(ROAMED)
    net.run_until(lambda: ike_sa(net.east).path.remote == ip_address(ROAMED))
    net.link.cut = True
    net.run_until(lambda: ike_sa(net.east).path.remote == WEST)
    net.link.cut = False
    net.run(30)
    assert between(net, ROAMED)
    assert_carries(net)


def test_packets_bring_up_a_child_sa_where_the_ike_sa_has_moved() -> None:
    net = mobile(auto=Auto.ONDEMAND)
    net.west.endpoint.tunnels[NAME].up(net.now, ike_only=True)
    net.settle(net.west)
    net.run(1)
    net.west.addresses(ROAMED)
    net.run(1)
    assert net.west.backend.policies[NAME].path == ike_sa(net.west).path
    net.west.packet(0)
    net.run(1)
    assert between(net, ROAMED)
    assert net.west.children


def test_a_search_goes_with_the_request_that_is_under_way(net: Network) -> None:
    """No empty request is needed to find the way that works."""
    net.hold()
    net.west.rekey()
    net.east.inbox.clear()
    net.west.addresses(ROAMED, FARTHER)
    assert [message.header.exchange for message in map(net.east.read, range(len(net.east.inbox)))] == [
        ExchangeType.CREATE_CHILD_SA
    ]
    net.release()
    net.run(5)
    assert between(net, ROAMED)
    assert net.west.kinds(Kind.CHILD_REKEYED)


def test_a_way_that_the_peer_refuses_is_left_for_another_one() -> None:
    """encapsulation=no, and there is a NAT before the first of two addresses."""
    net = mobile(encapsulation=Choice.NO).established()
    net.nat = HalfNat(ip_address(ROAMED), ip_address(FORGED))
    net.west.addresses(ROAMED, FARTHER)
    net.run(5)
    assert any("UNEXPECTED_NAT_DETECTED" in report.text for report in net.west.kinds(Kind.FAILED))
    assert between(net, FARTHER)
    assert_carries(net)


class HalfNat(Nat):
    """A NAT on one way; on the others there is none."""

    def translate(self, path: Path) -> Path | None:
        return super().translate(path) or path


@pytest.mark.parametrize("address", ["224.0.0.1", "::", str(EAST)])
def test_a_peer_is_nowhere_where_nobody_can_be(net: Network, address: str) -> None:
    """Somebody forwards the update as from there: no cookie comes back, and no packet goes there."""
    net.hold()
    net.west.addresses(ROAMED)
    net.receive(net.east, from_elsewhere(net.east.inbox.popleft(), address))
    assert all(sa.path.remote == WEST for sa in net.east.backend.installed.values())
    net.release()
    net.run(60)
    assert between(net, ROAMED)
    assert all(report.text.endswith(f"{ROAMED}[4500]") for report in net.east.kinds(Kind.MOVED))


def test_an_update_that_is_repeated_from_everywhere_is_followed_a_few_times(net: Network) -> None:
    net.hold()
    net.west.addresses(ROAMED)
    update = net.east.inbox.popleft()
    for number in range(1, 20):
        net.receive(net.east, from_elsewhere(update, f"203.0.113.{number}"))
    assert ike_sa(net.east).path.remote == ip_address(f"203.0.113.{MAX_CLAIMS + 1}")
    net.release()
    net.run(120)
    assert between(net, ROAMED)
    assert moves(net) == 1


def test_moving_on_before_the_peer_has_agreed(net: Network) -> None:
    """The answer to the first update says nothing of the second one."""
    net.hold()
    for address in (ROAMED, FARTHER):
        net.west.addresses(address)
    net.release()
    net.run(5)
    assert between(net, FARTHER)
    assert_carries(net)


def test_moving_on_before_the_peer_has_refused() -> None:
    net = mobile(encapsulation=Choice.NO).established().hold()
    net.nat = HalfNat(ip_address(ROAMED), ip_address(FORGED))
    for address in (ROAMED, FARTHER):
        net.west.addresses(address)
    net.release()
    net.run(5)
    assert between(net, FARTHER)
    assert not net.west.kinds(Kind.FAILED)


@pytest.mark.parametrize("ike", [False, True])
def test_two_claims_while_the_cookie_has_to_wait(ike: bool) -> None:
    """Other requests must be answered first; both cookies then go where the peer was heard last."""
    common = {"mobike": True, "timing": Timing(margin=60)}
    net = Network(west=common, east=common, settings=Settings(window=2)).established().hold()
    if ike:
        net.east.rekey(ike=True)
    else:
        for _ in range(2):
            ask(net.east, Liveness(ike_sa(net.east)))
    net.west.addresses(ROAMED)
    update = net.east.inbox.popleft()
    for address in (FORGED, ROAMED):
        net.receive(net.east, from_elsewhere(update, address))
    net.release()
    net.run(30)
    assert between(net, ROAMED)
    net.assert_consistent()


def test_a_claim_that_nobody_answers_for_needs_no_cookie_any_more(net: Network) -> None:
    """It waits behind east's rekey of the IKE SA, which is not answered from where the peer claims to be."""
    net.hold()
    net.east.rekey(ike=True)
    net.west.addresses(ROAMED)
    net.receive(net.east, from_elsewhere(net.east.inbox.popleft(), FORGED))
    net.run_until(lambda: ike_sa(net.east).path.remote == WEST)
    net.release()
    net.run(60)
    assert between(net, ROAMED)
    net.assert_consistent()


def test_an_answer_that_makes_no_sense_is_a_sign_of_life_all_the_same(net: Network) -> None:
    net.hold()
    answer(net, Tell(ike_sa(net.west)), *MALFORMED)
    net.east.inbox.clear()
    assert ike_sa(net.west).state is State.ESTABLISHED
