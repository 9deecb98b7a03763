"""Ranges as prefixes and masks: nothing more, nothing less."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from socket import AF_INET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikeclone.backend import BackendError, Mode, TrafficSelector
from ikeclone_xfrm.numbers import PolicyDirection
from ikeclone_xfrm.policies import is_ours, messages, outgoing, priority
from ikeclone_xfrm.selectors import mirrored, packet, port_masks, selectors
from ikeclone_xfrm.structs import packed

from .samples import LOCAL, POLICY, REMOTE, REQID

PORTS = st.integers(0, 65535)


@given(PORTS, PORTS, PORTS)
def test_masks_cover_a_range_and_nothing_else(one: int, other: int, port: int) -> None:
    first, last = sorted((one, other))
    matches = [value for value, mask in port_masks(first, last) if port & mask == value]
    assert len(matches) == (first <= port <= last)


def test_all_ports_are_no_restriction() -> None:
    assert port_masks(0, 65535) == [(0, 0)]
    assert port_masks(443, 443) == [(443, 0xFFFF)]


def test_only_selectors_of_one_family_and_protocol_go_together() -> None:
    six = TrafficSelector.of(ip_network("2001:db8::/32"))
    tcp, udp = (TrafficSelector.of(ip_network("192.0.2.0/24"), number) for number in (6, 17))
    assert selectors(LOCAL, (six,)) == []
    assert selectors((tcp,), (udp,)) == []
    assert [found["proto"] for found in selectors(LOCAL, (tcp, udp))] == [6, 17]


def test_a_packet_has_its_own_ports_and_all_of_icmp() -> None:
    ends = {
        name: packed(ip_address(end)).ljust(16, b"\0") for name, end in (("saddr", "10.0.1.7"), ("daddr", "10.0.2.9"))
    }
    ports = {"family": AF_INET, "sport": 8, "sport_mask": 0xFFFF, "dport": 0}

    def shown(protocol: int, **changes: int) -> list[str]:
        return list(map(str, packet({"proto": protocol, **ends, **ports, **changes})))

    assert shown(17) == ["10.0.1.7/32/17/8", "10.0.2.9/32/17/0"]
    assert shown(1) == ["10.0.1.7/32/1", "10.0.2.9/32/1"]
    assert shown(47, sport_mask=0) == ["10.0.1.7/32/47", "10.0.2.9/32/47"]


def test_a_range_of_addresses_takes_several() -> None:
    odd = TrafficSelector(ip_address("192.0.2.1"), ip_address("192.0.2.6"))
    assert [found["prefixlen_d"] for found in selectors(LOCAL, (odd,))] == [32, 31, 31, 32]


def test_ranges_that_take_too_many_are_refused() -> None:
    odd = TrafficSelector(ip_address("0.0.0.1"), ip_address("255.255.255.254"), 6, 1, 65534)
    with pytest.raises(BackendError, match="256"):
        selectors((odd,), (odd,))


def test_the_other_way_ends_are_swapped_but_not_type_and_code() -> None:
    (tcp,) = selectors((TrafficSelector.of(ip_network("192.0.1.0/24"), 6, 443),), REMOTE)
    back = mirrored(tcp)
    assert (back["sport"], back["dport"], back["saddr"]) == (0, 443, tcp["daddr"])
    assert mirrored(back) == tcp
    echo = TrafficSelector(LOCAL[0].first, LOCAL[0].last, 1, 8 << 8, (8 << 8) + 255)
    (icmp,) = selectors((echo,), REMOTE)
    assert (icmp["sport"], icmp["sport_mask"]) == (8, 0xFFFF)
    assert mirrored(icmp)["sport"] == 8


def test_several_types_of_icmp_need_all_their_codes() -> None:
    some = TrafficSelector(LOCAL[0].first, LOCAL[0].last, 1, 3 << 8, (4 << 8) + 1)
    with pytest.raises(BackendError, match="codes"):
        selectors((some,), REMOTE)


def test_a_tunnel_has_policies_for_what_leaves_arrives_and_is_forwarded() -> None:
    found = messages(POLICY, REQID)
    assert [fields["dir"] for fields, _ in found] == [PolicyDirection.OUT, PolicyDirection.IN, PolicyDirection.FWD]
    assert [outgoing(message) for message in found] == [True, False, False]


def test_a_host_s_own_traffic_is_not_forwarded() -> None:
    policy = POLICY.__class__("host", LOCAL, REMOTE, POLICY.path, Mode.TRANSPORT)
    assert [fields["dir"] for fields, _ in messages(policy, REQID)] == [PolicyDirection.OUT, PolicyDirection.IN]


def test_narrower_selectors_come_first() -> None:
    wide = TrafficSelector.of(ip_network("192.0.0.0/16"))
    narrow = TrafficSelector.of(ip_network("192.0.2.0/24"), 6, 443)
    ordered = [selectors(LOCAL, (selector,))[0] for selector in (narrow, REMOTE[0], wide)]
    assert sorted(ordered, key=priority) == ordered


def test_what_is_ours_is_known_by_its_reqid() -> None:
    assert is_ours(REQID)
    assert not is_ours(1)
    assert not is_ours(16389)
