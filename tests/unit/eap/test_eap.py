"""EAP packets, both roles and MS-CHAP, without IKE around them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikeclone.eap.mschapv2 import MsChapPeer, MsChapServer
from ikeclone.eap.packet import Packet
from ikeclone.eap.peer import EapPeer
from ikeclone.eap.server import EapServer, Failure, Success
from ikeclone.errors import AuthenticationFailed, InvalidSyntax
from ikeclone.numbers import EapCode, EapType

RIGHT = "clientPass"
PASSWORDS = {b"alice": RIGHT}


def octets(size: int) -> bytes:
    return bytes(range(1, size + 1))


def peer(user: bytes = b"alice", password: str = RIGHT) -> EapPeer:
    return EapPeer(user, (MsChapPeer(user, password, octets),))


def server() -> EapServer:
    return EapServer((MsChapServer(PASSWORDS.get, b"east", octets),), 255)


def talk(us: EapPeer, them: EapServer) -> Success | Failure:
    """Let both talk until the server comes to an end."""
    asked: bytes | Success | Failure = them.start()
    while isinstance(asked, bytes):
        answer = us.respond(asked)
        assert answer is not None
        asked = them.receive(answer)
    return asked


def test_both_have_the_same_key() -> None:
    us = peer()
    end = talk(us, server())
    assert isinstance(end, Success)
    assert (end.user, end.msk, us.respond(end.packet)) == (b"alice", us.msk, None)
    assert repr(end.msk) not in repr(end)


@pytest.mark.parametrize(("user", "password"), [(b"alice", "wrong"), (b"carol", "clientPass")])
def test_failure(user: bytes, password: str) -> None:
    us = peer(user, password)
    end = talk(us, server())
    assert isinstance(end, Failure)
    assert us.msk is None
    with pytest.raises(AuthenticationFailed, match="the name or the password is wrong"):
        us.respond(end.packet)


def test_success_out_of_nowhere_is_none() -> None:
    with pytest.raises(AuthenticationFailed, match="without having proven itself"):
        peer().respond(Packet(EapCode.SUCCESS, 1).build())


def test_a_method_that_is_not_there_is_answered_with_those_that_are() -> None:
    answer = peer().respond(Packet(EapCode.REQUEST, 7, EapType.TLS, b"\x20").build())
    assert answer == Packet(EapCode.RESPONSE, 7, EapType.NAK, bytes([EapType.MSCHAPV2])).build()


def test_a_peer_that_wants_another_method_is_not_let_in() -> None:
    them = server()
    first = Packet.parse(them.start())
    second = them.receive(first.answer(EapType.IDENTITY, b"alice").build())
    assert isinstance(second, bytes)
    end = them.receive(Packet.parse(second).answer(EapType.NAK, bytes([EapType.TLS])).build())
    assert isinstance(end, Failure)
    assert Packet.parse(end.packet).code is EapCode.FAILURE


def test_a_notification_is_answered() -> None:
    answer = peer().respond(Packet(EapCode.REQUEST, 1, EapType.NOTIFICATION, b"news").build())
    assert answer == Packet(EapCode.RESPONSE, 1, EapType.NOTIFICATION).build()


WRONG: dict[str, Callable[[Packet], Packet]] = {
    "identifier": lambda asked: Packet(EapCode.RESPONSE, (asked.identifier + 1) % 256, EapType.IDENTITY, b"alice"),
    "code": lambda asked: Packet(EapCode.REQUEST, asked.identifier, EapType.IDENTITY, b"alice"),
    "type": lambda asked: asked.answer(EapType.MSCHAPV2, b"\x03"),
    "refusal of identity": lambda asked: asked.answer(EapType.NAK, b"\x1a"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_answer_the_request(what: str) -> None:
    them = server()
    with pytest.raises(InvalidSyntax):
        them.receive(WRONG[what](Packet.parse(them.start())).build())


def test_mschap_in_another_order() -> None:
    them = MsChapServer(PASSWORDS.get, b"east", octets)
    them.start(1)
    with pytest.raises(InvalidSyntax):
        them.proceed(b"\x03")
    assert them.msk is None
    us = MsChapPeer(b"alice", "clientPass", octets)
    with pytest.raises(InvalidSyntax):
        us.respond(b"\x03\x01\x00\x04")


@given(st.binary(max_size=80))
def test_any_octets_are_a_packet_or_the_one_parse_error(data: bytes) -> None:
    try:
        packet = Packet.parse(data)
    except InvalidSyntax:
        return
    assert packet.build() == data


@given(st.binary(max_size=90))
def test_any_octets_are_answered_or_refused_by_mschap(data: bytes) -> None:
    them = MsChapServer(PASSWORDS.get, b"east", octets)
    them.start(1)
    us = MsChapPeer(b"alice", "clientPass", octets)
    for step in (them.proceed, us.respond):
        try:
            step(data)
        except (InvalidSyntax, AuthenticationFailed):
            continue
    assert (us.msk, them.msk) == (None, None)
