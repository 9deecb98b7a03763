"""Steering by the network card, on one of our own: its rules, its hash, and that it is asked as ethtool asks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path as FilePath

import pytest

from ikeclone.steering import Arrival, Choice, Path, Settings
from ikeclone_steering import ethtool, journal, queues, rules, survey
from ikeclone_steering.ethtool import Call, Card, Fields, Flow, Rule
from ikeclone_steering.links import Link
from ikeclone_steering.queues import numbers
from ikeclone_steering.steering import KernelSteering
from tests.dataplane.netns import Namespace, connect
from tests.unit.steering.card import RULE, SOURCE_AND_DESTINATION, FakeCard

PATH = Path(ip_address("198.51.100.1"), ip_address("198.51.100.2"))
PATH6 = Path(ip_address("2001:db8::1"), ip_address("2001:db8::2"))
ARRIVAL = Arrival(0x12345678, 1, PATH, False)
ARRIVAL6 = replace(ARRIVAL, path=PATH6)
IN_UDP = Arrival(0x1000, 1, replace(PATH, local_port=4500, remote_port=31337), True)
IN_UDP6 = replace(IN_UDP, path=replace(PATH6, local_port=4500, remote_port=31337))
QUEUES = {0: 0, 1: 3}  # by CPU
NIC, AUTO = Settings(Choice.NIC), Settings()

# What ethtool 6.1 hands to the kernel for `ethtool -N eth0 flow-type FLOW … action 3`, from struct ethtool_rx_flow_spec
# on, without the zero octets at its end; the card has 16 places and chooses none of them.
# esp4 src-ip 198.51.100.2 dst-ip 198.51.100.1 spi 0x12345678, and the like.
ETHTOOL = {
    ARRIVAL: "0a000000 c6336402c633640112345678" + "00" * 60 + "ffffffffffffffffffffffff" + "00" * 64,
    ARRIVAL6: "0c000000 20010db800000000000000000000000220010db800000000000000000000000112345678"
    + "00" * 36
    + "ff" * 36
    + "00" * 40,
    IN_UDP: "02000000 c6336402c63364017a691194" + "00" * 60 + "ffffffffffffffffffffffff" + "00" * 64,
    IN_UDP6: "06000000 20010db800000000000000000000000220010db80000000000000000000000017a691194"
    + "00" * 36
    + "ff" * 36
    + "00" * 40,
}
TAIL = "0300000000000000 0f000000 00000000"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> FakeCard:
    card = FakeCard()
    monkeypatch.setattr(ethtool, "call", card.call)

    async def of_cpus(link: Link) -> dict[int, int]:
        return QUEUES

    monkeypatch.setattr(rules, "queue_of_cpus", of_cpus)
    return card


@pytest.fixture
def here(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> Iterator[Namespace]:
    monkeypatch.setattr(journal, "DIRECTORY", tmp_path)
    left, right = Namespace(), Namespace()
    try:
        connect(left, right, [("198.51.100.1/24", "198.51.100.2/24"), ("2001:db8::1/64", "2001:db8::2/64")])
        yield left
    finally:
        left.close()
        right.close()


def started(here: Namespace, settings: Settings = AUTO) -> KernelSteering:
    steering = KernelSteering(settings)
    here.call(steering.start())
    return steering


async def crash(steering: KernelSteering) -> None:
    """Leave everything but its own descriptors as it is."""
    steering._running().close()


def said(steering: KernelSteering) -> str:
    return steering.describe()["receive steering"]


@pytest.mark.parametrize("arrival", ETHTOOL)
def test_a_rule_is_what_ethtool_makes_of_it(card: FakeCard, arrival: Arrival) -> None:
    card.places = 16
    Card("eth0").insert(Rule(*rules.match(arrival), 3))
    wanted = bytes.fromhex(ETHTOOL[arrival] + TAIL)
    assert card.calls[-1][:4] == struct.pack("=I", Call.INSERT_RULE)
    assert card.calls[-1][RULE] == wanted
    assert len(card.calls[-1]) == 192


def test_a_card_that_chooses_places_itself_is_let_to(card: FakeCard) -> None:
    """As ethtool does: 0xffffffff is any."""
    card.chooses = True
    Card("eth0").insert(Rule(*rules.match(ARRIVAL), 3))
    assert card.calls[-1][RULE].hex().endswith("0300000000000000ffffffff00000000")
    assert list(card.rules) == [0]


@pytest.mark.parametrize(
    ("flow", "sent"),
    [
        (Flow.AH_ESP_V4, "2a00000004000000f000000000000000"),
        (Flow.AH_ESP_V6, "2a00000008000000f000000000000000"),
        (Flow.UDP_V4, "2a00000002000000f000000000000000"),
        (Flow.UDP_V6, "2a00000006000000f000000000000000"),
    ],
)
def test_a_hash_is_what_ethtool_makes_of_it(card: FakeCard, flow: Flow, sent: str) -> None:
    """`ethtool -N eth0 rx-flow-hash esp4 sdfn`, and esp6, udp4, udp6, of ethtool 6.1: the first 16 octets."""
    Card("eth0").hash_by(flow, Fields(0xF0))
    assert card.calls[-1][:16].hex() == sent


def test_a_rule_goes_to_the_last_free_place_and_only_as_it_was_made(card: FakeCard) -> None:
    made, other = Rule(*rules.match(ARRIVAL), 3), Rule(*rules.match(ARRIVAL), 2)
    theirs = card.rules[3] = bytes(168)
    Card("eth0").insert(made)
    assert sorted(card.rules) == [2, 3]
    Card("eth0").delete(other)
    assert sorted(card.rules) == [2, 3]
    Card("eth0").delete(made)
    assert card.rules == {3: theirs}


@pytest.mark.root
def test_each_clone_has_a_rule_while_it_is_there(card: FakeCard, here: Namespace) -> None:
    steering = started(here)
    here.call(steering.steer(ARRIVAL))
    here.call(steering.steer(replace(ARRIVAL, spi=0x2000, cpu=0)))
    wanted = Rule(*rules.match(ARRIVAL), QUEUES[ARRIVAL.cpu])
    assert card.rules[3] == wanted.octets(3)
    how = "rules of the card on eth0, by SPI to the receive queue of its clone's CPU"
    assert said(steering) == f"{how}: 2 SPIs"
    here.call(steering.release(ARRIVAL.spi))
    assert len(card.rules) == 1
    here.call(steering.stop())
    assert card.rules == {}
    assert list(journal.DIRECTORY.glob("*/*")) == []


@pytest.mark.root
def test_a_cpu_without_a_queue_and_a_full_card_go_by_the_hash(card: FakeCard, here: Namespace) -> None:
    card.places = 1
    steering = started(here)
    here.call(steering.steer(replace(ARRIVAL, cpu=7)))
    assert "RSS on eth0, by SPI to a queue and so always to the same CPU: 1 SPIs" in said(steering)
    assert "no receive queue whose interrupt goes to CPU 7 alone" in said(steering)
    here.call(steering.steer(ARRIVAL))
    here.call(steering.steer(replace(ARRIVAL, spi=0x2000)))
    assert "every place for a rule is taken" in said(steering)
    assert (card.hashes[Flow.ESP_V4], card.hashes[Flow.ESP_V6]) == (0xF0, SOURCE_AND_DESTINATION)
    here.call(steering.stop())
    assert set(card.hashes.values()) == {SOURCE_AND_DESTINATION}


@pytest.mark.root
def test_drivers_that_know_esp_and_ah_by_one_name(card: FakeCard, here: Namespace) -> None:
    card.places = 0
    del card.hashes[Flow.ESP_V6]
    steering = started(here, NIC)
    here.call(steering.steer(ARRIVAL6))
    assert card.hashes[Flow.AH_ESP_V6] == 0xF0
    here.call(steering.stop())
    assert card.hashes[Flow.AH_ESP_V6] == SOURCE_AND_DESTINATION


@pytest.mark.root
def test_sas_in_udp_are_told_apart_by_ports_only_if_they_have_their_own(card: FakeCard, here: Namespace) -> None:
    steering = started(here, NIC)
    here.call(steering.steer(IN_UDP))
    assert said(steering).startswith("rules of the card")
    here.call(steering.steer(replace(IN_UDP, spi=0x2000)))
    assert "SAs share their ports" in said(steering)
    here.call(steering.steer(replace(IN_UDP6, spi=0x3000, path=replace(IN_UDP6.path, remote_port=4500))))
    assert len(card.rules) == 1
    here.call(steering.stop())


@pytest.mark.root
@pytest.mark.parametrize("rules_by_card", [True, False])
def test_what_a_daemon_that_crashed_has_changed_is_put_back(
    card: FakeCard, here: Namespace, rules_by_card: bool
) -> None:
    theirs = card.rules[0] = bytes(168)
    crashed = started(here, NIC)
    here.call(crashed.steer(ARRIVAL if rules_by_card else replace(ARRIVAL, cpu=7)))
    assert (len(card.rules) == 2) is rules_by_card
    assert (card.hashes[Flow.ESP_V4] != SOURCE_AND_DESTINATION) is not rules_by_card
    here.call(crash(crashed))
    next_one = started(here, NIC)
    assert card.rules == {0: theirs}
    assert card.hashes[Flow.ESP_V4] == SOURCE_AND_DESTINATION
    assert list(journal.DIRECTORY.glob("*/*")) == []
    here.call(next_one.stop())


@pytest.mark.root
def test_a_hash_that_somebody_has_changed_since_stays(card: FakeCard, here: Namespace) -> None:
    card.places = 0
    steering = started(here, NIC)
    here.call(steering.steer(ARRIVAL))
    card.hashes[Flow.ESP_V4] = 0xC0
    here.call(steering.stop())
    assert card.hashes[Flow.ESP_V4] == 0xC0


@pytest.mark.root
def test_a_card_that_can_do_nothing_leaves_it_to_xdp(card: FakeCard, here: Namespace) -> None:
    card.places, card.queues = 0, 1
    steering = started(here)
    here.call(steering.steer(ARRIVAL))
    assert said(steering) == (
        "XDP (native) on eth0, by SPI to the CPU of its clone: 1 SPIs "
        "(not rules of the card: it takes none (Operation not supported); RSS: it has one receive queue)"
    )
    here.call(steering.stop())


def test_lists_of_the_kernel() -> None:
    assert numbers("0-3,8") == [0, 1, 2, 3, 8]


@pytest.mark.root
def test_the_doctor_says_what_a_card_could_do_with_other_settings(
    card: FakeCard, here: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def shared(link: Link) -> dict[int, list[int]]:
        return {0: [1], 1: [1], 2: [0, 1], 3: []}

    monkeypatch.setattr(survey, "cpus_of_queues", shared)
    card.filters = False
    (found,) = here.call(KernelSteering(AUTO).survey())
    assert found.works
    assert found.text.startswith("rules of the card, to the queues of CPUs 0, 1, at most 4; receive queues: ")
    assert found.advice.split("; ") == [
        "ethtool -L eth0 combined 8 for more queues than its 4",
        "ethtool -K eth0 ntuple on, if it can, for rules by SPI",
        "the interrupt of receive queue 2 goes to 2 CPUs: one in /proc/irq/*/smp_affinity_list",
        "the interrupts of receive queues 0, 1 go to CPU 1: one each in /proc/irq/*/smp_affinity_list",
    ]
    assert {struct.unpack_from("=I", octets)[0] for octets in card.calls} <= {
        Call.GET_FLAGS, Call.GET_CHANNELS, Call.GET_HASH, Call.GET_QUEUES, Call.COUNT_RULES, Call.LIST_RULES
    }  # fmt: skip


def test_interrupts_that_bear_the_name_of_a_device(monkeypatch: pytest.MonkeyPatch, tmp_path: FilePath) -> None:
    """As /proc/interrupts has those of i40e, ice and igb; eth1 is another device, and tx sends."""
    rows = ("24: 1 2 PCI-MSI 1-edge eth0", "25: 1 2 PCI-MSI 2-edge i40e-eth0-TxRx-0", "26: 1 2 MSI 3-edge eth0-rx-1",
            "27: 1 2 MSI 4-edge eth0-tx-1", "28: 1 2 MSI 5-edge eth1-TxRx-2", "29: 1 2 MSI 6-edge eth0-3",
            "NMI: 1 2 Non-maskable interrupts")  # fmt: skip
    (tmp_path / "interrupts").write_text("       CPU0 CPU1\n" + "\n".join(rows) + "\n")
    monkeypatch.setattr(queues, "_INTERRUPTS", tmp_path / "interrupts")
    assert queues._named("eth0") == {0: 25, 1: 26, 3: 29}
