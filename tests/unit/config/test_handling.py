"""Keywords that tell the data plane what to do with a connection's packets."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_interface
from pathlib import Path

import pytest

from ikeclone.backend import Handling, Interface, Mark, Offload
from ikeclone.config import load

Write = Callable[..., Path]
Mistakes = Callable[[str], list[str]]
HOSTS = "\tleft=192.1.2.45\n\tright=192.1.2.23\n\tauthby=secret\n"
WEST = frozenset({ip_address("192.1.2.45")})
EAST = frozenset({ip_address("192.1.2.23")})


@pytest.mark.parametrize(
    ("lines", "handling"),
    [
        ((), Handling()),
        (("nic-offload=auto",), Handling(offload=Offload.AUTO)),
        (("nic-offload=packet",), Handling(offload=Offload.PACKET)),
        (("ipsec-interface=yes",), Handling(interface=Interface(1))),
        (("ipsec-interface=no", "leftinterface-ip=10.0.0.1/24"), Handling()),
        (
            ("ipsec-interface=7", "leftinterface-ip=10.0.0.1/24", "rightinterface-ip=10.0.0.2/24"),
            Handling(interface=Interface(7, (ip_interface("10.0.0.1/24"),))),
        ),
        (("mark=5",), Handling(mark_in=Mark(5), mark_out=Mark(5))),
        (("mark=0x10/0xF0", "mark-out=1"), Handling(mark_in=Mark(0x10, 0xF0), mark_out=Mark(1))),
        (("mark-in=010/255",), Handling(mark_in=Mark(10, 255))),
        (("priority=2000",), Handling(priority=2000)),
        (("priority=0",), Handling()),
        (("parallel-crypto=yes",), Handling(parallel=frozenset())),
        (("parallel-crypto=1-3,6",), Handling(parallel=frozenset({1, 2, 3, 6}))),
    ],
)
def test_what_is_said(write: Write, lines: tuple[str, ...], handling: Handling) -> None:
    path = write("conn a\n" + HOSTS + "".join(f"\t{line}\n" for line in lines))
    assert load(path).connections[0].connection(WEST).handling == handling


def test_addresses_are_those_of_the_end_that_is_this_host(write: Write) -> None:
    text = "\tipsec-interface=2\n\tleftinterface-ip=10.0.0.1/24\n\trightinterface-ip=fd00::2/64,10.0.0.2/24\n"
    handling = load(write("conn a\n" + HOSTS + text)).connections[0].connection(EAST).handling
    assert handling.interface == Interface(2, (ip_interface("fd00::2/64"), ip_interface("10.0.0.2/24")))
    assert handling.interface.name == "ipsec2"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nic-offload=none", "must be one of no, auto, crypto, packet"),
        ("ipsec-interface=0", "must be no, yes (the device ipsec1) or a number from 1 to 65535"),
        ("leftinterface-ip=10.0.0.1/33", "must be addresses such as 192.0.2.1/24"),
        ("mark=-1", "must be a mark such as 5, 0x10 or 0x10/0xf0"),
        ("mark=4294967296", "a mark and its mask have 32 bits"),
        ("mark-in=3/2", "the mark 0x3 has bits that its mask 0x2 leaves out: no packet could have it"),
        ("priority=x", "must be a number from 0 to 4294967295"),
        ("parallel-crypto=3-1", "must be yes, no or a list of CPUs such as 2-5,8"),
    ],
)
def test_mistakes(mistakes: Mistakes, line: str, reason: str) -> None:
    assert mistakes("conn a\n" + HOSTS + f"\t{line}\n") == [f"ipsec.conf:5: conn a: {line}: {reason}"]


def test_a_card_and_cpus_exclude_each_other(mistakes: Mistakes) -> None:
    (mistake,) = mistakes("conn a\n" + HOSTS + "\tnic-offload=auto\n\tparallel-crypto=yes\n")
    assert mistake.endswith("nic-offload= and parallel-crypto= exclude each other: a card or CPUs do the work")


def test_demands_are_what_not_every_data_plane_can_meet() -> None:
    assert Handling(offload=Offload.AUTO).demands() == []
    asked = Handling(Offload.PACKET, Interface(3), Mark(1, 1), Mark(2), 7, frozenset({1, 2}))
    assert asked.demands() == [
        "nic-offload=packet",
        "ipsec-interface=3",
        "mark-in=0x1/0x1",
        "mark-out=0x2/0xffffffff",
        "priority=7",
        "parallel-crypto=1,2",
    ]
