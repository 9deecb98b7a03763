"""Reassembly of fragments (RFC 7383 section 2.6)."""

from __future__ import annotations

import pytest

from ikeclone.errors import InvalidSyntax
from ikeclone.ike.fragments import MAX_FRAGMENTS, MAX_OCTETS, Reassembly
from ikeclone.numbers import PayloadType

FIRST, NONE = PayloadType.IDI, PayloadType.NONE


def test_any_order_and_repeats_make_the_whole() -> None:
    parts = Reassembly()
    assert parts.add(1, 3, 3, NONE, b"c") is None
    assert parts.add(1, 1, 3, FIRST, b"a") is None
    assert parts.add(1, 1, 3, FIRST, b"another") is None
    assert parts.add(1, 2, 3, NONE, b"b") == b"abc"
    assert parts.first is FIRST


def test_a_larger_total_begins_anew_and_a_smaller_one_is_ignored() -> None:
    """The sender made smaller fragments (RFC 7383 section 2.6.1)."""
    parts = Reassembly()
    assert parts.add(1, 1, 2, FIRST, b"old") is None
    assert parts.add(1, 1, 3, FIRST, b"a") is None
    assert parts.add(1, 2, 2, NONE, b"old") is None
    assert parts.add(1, 2, 3, NONE, b"b") is None
    assert parts.add(1, 3, 3, NONE, b"c") == b"abc"


@pytest.mark.parametrize("message_id", [-1, 0, 1, 2])
def test_a_message_of_fewer_fragments_follows_one_of_more(message_id: int) -> None:
    parts = Reassembly()
    for number in (1, 2, 3):
        parts.add(1, number, 3, FIRST, b"x")
    assert parts.add(message_id, 1, 2, FIRST, b"a") is None
    assert parts.add(message_id, 2, 2, NONE, b"b") == b"ab"


def test_another_message_takes_the_place_of_an_unfinished_one() -> None:
    parts = Reassembly()
    parts.add(1, 1, 2, FIRST, b"a")
    assert parts.add(2, 1, 1, FIRST, b"b") == b"b"
    assert parts.parts == {}


@pytest.mark.parametrize(("number", "total"), [(0, 1), (2, 1), (1, 0), (1, MAX_FRAGMENTS + 1)])
def test_numbers_that_make_no_sense(number: int, total: int) -> None:
    with pytest.raises(InvalidSyntax):
        Reassembly().add(1, number, total, FIRST, b"")


def test_a_message_that_is_too_long_leaves_nothing() -> None:
    parts = Reassembly()
    parts.add(1, 1, 2, FIRST, bytes(MAX_OCTETS))
    with pytest.raises(InvalidSyntax):
        parts.add(1, 2, 2, NONE, b"x")
    assert parts.parts == {}
