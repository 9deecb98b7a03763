"""Open enums."""

import copy
from typing import Any

import pytest

from ikeclone.numbers import Encr, KeMethod, NotifyType, PayloadType, TransformType, transform_id


def test_unknown_numbers_have_a_name_and_are_equal() -> None:
    unknown = NotifyType(40960)
    assert unknown.name == "UNKNOWN_40960"
    assert (unknown, hash(unknown)) == (NotifyType(40960), hash(NotifyType(40960)))
    assert copy.deepcopy(unknown) == unknown
    assert {unknown: 1}[NotifyType(40960)] == 1


def test_unknown_numbers_leave_nothing_behind() -> None:
    before = len(PayloadType.__members__), len(PayloadType._value2member_map_)
    for number in range(256):
        PayloadType(number)
    assert (len(PayloadType.__members__), len(PayloadType._value2member_map_)) == before


def test_what_is_no_number_is_refused() -> None:
    values: tuple[Any, ...] = ("AES", -1, None)
    for value in values:
        with pytest.raises(ValueError, match="not a valid"):
            Encr(value)


def test_errors_are_below_16384() -> None:
    assert NotifyType.TS_MAX_QUEUE.is_error
    assert NotifyType(16383).is_error
    assert not NotifyType.SA_RESOURCE_INFO.is_error
    assert not NotifyType(40960).is_error


def test_transform_ids_are_named_after_their_type() -> None:
    assert transform_id(TransformType.KE, 31) is KeMethod.CURVE25519
    assert transform_id(TransformType.ADDKE7, 36) is KeMethod.ML_KEM_768
    assert transform_id(TransformType(99), 31) == 31
