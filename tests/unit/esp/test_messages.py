"""Messages between daemon and worker: whole and typed again on the other side."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from ikeclone.backend import Acquire, Expire, Path, Policy, Remapped
from ikeclone_esp import messages
from ikeclone_esp.messages import Done, DropSocket, Fallback, Install, Ready, Request, Route, Setup, Skip, UseSocket
from tests.unit.esp.packets import child_sa, networks

PATH = Path(ip_address("2001:db8::1"), ip_address("192.0.2.1"), 4500, 1024)
MESSAGES = [
    Setup(1, 3, 4),
    UseSocket("192.0.2.1", False),
    Request(7, Install(child_sa(), 12)),
    Request(8, Install(replace(child_sa(cpu=None), replaces=77), 13)),
    Request(9, Route(Policy("net-net", networks("10.0.0.0/8"), (), PATH, source=ip_address("10.0.0.1")))),
    Request(0, Fallback("ein Name, näher", None)),
    Request(1, Skip(0xFFFFFFFF, (1 << 64) - 1)),
    Request(0, DropSocket("192.0.2.1")),
    Done(7, "it said “no”"),
    Ready(),
    Acquire("net-net", None),
    Acquire("net-net", 3, (networks("10.0.0.1")[0], networks("2001:db8::1")[0])),
    Expire(0xFFFFFFFF, True),
    Remapped(256, PATH),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_round_trip(message: object) -> None:
    data = messages.encode(message)
    assert len(data) < messages.LARGEST
    again = messages.decode(data)
    assert again == message
    assert repr(again) == repr(message)


@pytest.mark.parametrize("data", [b"", b"{", b'["os"]', b'["Done"]', b'["octets", 1]', b"[]", b'[["Done"]]', b"\xff"])
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever kind: nothing may get through
        messages.decode(data)


def test_keys_are_not_printed() -> None:
    sa = child_sa()
    for text in (repr(Request(1, Install(sa, 1))), str(sa)):
        assert repr(sa.inbound_keys.encryption)[2:-1] not in text
        assert sa.inbound_keys.encryption.hex() not in text
