"""Postquantum preshared keys: who uses one with whom, and who does without (RFC 8784)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ikeclone.connection import Choice, Identity, Ppk
from ikeclone.crypto.registry import parse_ike
from ikeclone.ike import ppk
from ikeclone.ike.actions import Kind
from ikeclone.numbers import NotifyType
from ikeclone.wire.message import parse_message
from ikeclone.wire.payloads import Notify
from tests.pair.network import IKE, Network, Side

NO, PROPOSE, INSIST = Choice.NO, Choice.AUTO, Choice.YES
WEST, EAST = Identity.parse("@west"), Identity.parse("@east")
ONE, OTHER = Ppk((), b"one", b"1" * 32), Ppk((), b"other", b"2" * 32)


def network(west: tuple[Ppk, ...], east: tuple[Ppk, ...], /, **more: Mapping[str, object]) -> Network:
    """A network whose sides have these keys, not up yet."""
    net = Network(west=more.get("west"), east=more.get("east"))
    for side, ppks in zip(net.sides, (west, east), strict=True):
        side.endpoint.credentials = replace(side.endpoint.credentials, ppks=ppks)
    return net


def up(net: Network) -> bool:
    """Whether the connection comes up; both sides agree then."""
    net.west.up()
    net.run(1)
    net.assert_consistent()
    return all(side.children for side in net.sides)


def uses(side: Side, at_first: bytes) -> bool:
    """Whether a side's SK_d is another one than that of IKE_SA_INIT."""
    assert side.ike is not None
    return side.ike.keys.sk_d != at_first


def of_ike_sa_init(net: Network) -> bytes:
    """Begin, and return SK_d as IKE_SA_INIT made it."""
    net.hold()
    net.west.up()
    net.east.take()
    net.west.take()
    sk_d = next(net.west.endpoint.ike_sas()).keys.sk_d
    net.release()
    net.run(1)
    net.assert_consistent()
    return sk_d


@pytest.mark.parametrize("ike", [IKE, f"{IKE}-ke1_mlkem768"])
def test_both_have_the_key(ike: str) -> None:
    both: dict[str, object] = {"ike": parse_ike(ike)}
    net = network((ONE,), (OTHER, ONE), west=both, east=both)
    at_first = of_ike_sa_init(net)
    for side in net.sides:
        assert side.children
        assert uses(side, at_first)
    west, east = (side.ike for side in net.sides)
    assert west is not None
    assert east is not None
    assert west.keys == east.keys
    for what in (False, True):
        net.west.rekey(ike=what)
        net.run(1)
        net.assert_consistent()


@pytest.mark.parametrize(("west", "east"), [((ONE,), ()), ((), (ONE,)), ((ONE,), (OTHER,)), ((), ())])
def test_without_a_common_key_who_does_not_insist_does_without(west: tuple[Ppk, ...], east: tuple[Ppk, ...]) -> None:
    net = network(west, east)
    at_first = of_ike_sa_init(net)
    for side in net.sides:
        assert side.children
        assert not uses(side, at_first)


@pytest.mark.parametrize(
    ("west", "east"),
    [((ONE,), ()), ((ONE,), (OTHER,)), ((), (ONE,)), ((), ()), ((ONE,), (replace(ONE, key=b"wrong"),))],
)
@pytest.mark.parametrize("who", [("west",), ("east",), ("west", "east")])
def test_who_insists_does_not_do_without(west: tuple[Ppk, ...], east: tuple[Ppk, ...], who: tuple[str, ...]) -> None:
    net = network(west, east, **{name: {"ppk": INSIST} for name in who})
    assert not up(net)
    assert net.west.kinds(Kind.FAILED)


@pytest.mark.parametrize("who", ["west", "east"])
def test_who_insists_gets_it(who: str) -> None:
    net = network((ONE,), (ONE,), **{who: {"ppk": INSIST}})
    assert up(net)
    assert net.west.ike is not None


@pytest.mark.parametrize("insists", [False, True])
def test_a_responder_that_does_not_say_that_it_used_the_key(insists: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it has proved itself without, which is not enough for who insists, nor does it fit (RFC 8784 section 3)."""
    honest = ppk.answer

    def silent(*arguments: object, **more: object) -> object:
        keys, auth, _ = honest(*arguments, **more)  # type: ignore[arg-type]
        return keys, auth, ()

    monkeypatch.setattr("ikeclone.ike.auth.ppk.answer", silent)
    net = network((ONE,), (ONE,), **({"west": {"ppk": INSIST}} if insists else {}))
    assert not up(net)
    reason = "the peer does not use the postquantum preshared key" if insists else "the peer's proof is wrong"
    assert reason in net.west.kinds(Kind.FAILED)[-1].text


def test_a_wrong_key_of_the_right_name_is_found_out() -> None:
    assert not up(network((ONE,), (replace(ONE, key=b"wrong"),)))


def test_who_wants_none_says_nothing_of_it() -> None:
    net = network((ONE,), (ONE,), west={"ppk": NO})
    assert up(net)
    messages = [parse_message(datagram.data) for datagram in net.seen[:2]]
    assert not [n for m in messages for n in m.all(Notify) if n.type is NotifyType.USE_PPK]


def test_of_several_keys_that_of_the_identities_and_names_is_taken() -> None:
    ours = (Ppk((Identity.parse("@north"),), b"north", b"n"), ONE, Ppk((WEST, EAST), b"ours", b"o"))
    for ids, expected in (((), b"one"), ((b"north", b"ours"), b"ours")):
        net = network(ours, ours, west={"ppk_ids": ids}).hold()
        net.west.up()
        net.east.take()
        net.west.take()
        data = [n.data for n in net.east.read().all(Notify) if n.type is NotifyType.PPK_IDENTITY]
        assert data == [b"\x02" + expected]


def test_keys_are_not_printed() -> None:
    assert "1111" not in repr(ONE)
