from __future__ import annotations

from ipaddress import ip_address

import pytest

from ikeclone.connection import Identity, Pool
from ikeclone.ike import leases
from ikeclone.ike.leases import Leases, Pools
from ikeclone.numbers import IdType

FIRST, SECOND, THIRD = (ip_address(f"10.3.0.{number}") for number in (1, 2, 3))
POOL = Pool(FIRST, THIRD)
WEST, EAST, NORTH = (Identity.parse(name) for name in ("@west", "@east", "@north"))
NOBODY = Identity(IdType.NULL, b"")


def test_addresses_are_leased_in_order_and_come_to_an_end() -> None:
    pool = Leases(POOL)
    assert [pool.take(peer) for peer in (WEST, EAST, None, NORTH)] == [FIRST, SECOND, THIRD, None]
    assert pool.held == {FIRST: WEST, SECOND: EAST, THIRD: None}


def test_who_comes_back_has_the_same_one_and_others_get_new_ones_first() -> None:
    pool = Leases(POOL)
    pool.give_back(pool.take(WEST) or SECOND)
    assert pool.take(EAST) == SECOND
    assert pool.take(WEST) == FIRST


def test_those_that_are_free_for_longest_go_first_when_there_are_no_new_ones() -> None:
    pool = Leases(POOL)
    for peer in (WEST, EAST, NORTH):
        pool.take(peer)
    for address in (SECOND, FIRST):
        pool.give_back(address)
    assert [pool.take(Identity.parse(f"@{number}")) for number in range(3)] == [SECOND, FIRST, None]


def test_one_that_is_wanted_is_given_if_it_is_free_and_in_the_pool() -> None:
    pool = Leases(POOL)
    assert pool.take(WEST, THIRD) == THIRD
    assert pool.take(EAST, THIRD) == FIRST
    assert pool.take(NORTH, ip_address("10.4.0.1")) == SECOND
    assert Leases(POOL).take(WEST, ip_address("2001:db8::1")) == FIRST


def test_new_ones_leave_out_those_that_somebody_wanted() -> None:
    pool = Leases(POOL)
    assert pool.take(WEST, FIRST) == FIRST
    assert pool.take(EAST, SECOND) == SECOND
    assert pool.take(NORTH) == THIRD


def test_nobody_is_never_known_again() -> None:
    pool = Leases(POOL)
    pool.give_back(pool.take(NOBODY) or SECOND)
    assert pool.take(NOBODY) == SECOND


def test_former_holders_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "REMEMBERED", 2)
    pool = Leases(Pool(ip_address("2001:db8::"), ip_address("2001:db8::ffff:ffff:ffff:ffff")))
    peers = [Identity.parse(f"@{number}") for number in range(50)]
    given = set()
    for peer in peers:
        address = pool.take(peer)
        assert address is not None
        given.add(address)
        pool.give_back(address)
    assert len(given) == 2


def test_connections_that_name_the_same_pool_share_it() -> None:
    pools = Pools()
    assert pools[POOL] is pools[Pool(FIRST, THIRD)]
    assert pools[POOL] is not pools[Pool(FIRST, SECOND)]


def test_a_pool() -> None:
    assert (POOL.size, str(POOL), str(POOL.selector)) == (3, "10.3.0.1-10.3.0.3", "10.3.0.1-10.3.0.3")
    assert SECOND in POOL
    assert ip_address("2001:db8::1") not in POOL
