"""What the backend asks of the kernel, with a kernel that is a dictionary."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, cast

import pytest

from ikeclone.backend import BackendError, ChildSa, Expire, Handling, IPAddress, Lost, Offload, Policy
from ikeclone_xfrm import backend as module
from ikeclone_xfrm.backend import XfrmBackend
from ikeclone_xfrm.errors import AlreadyThere, NotThere, refused
from ikeclone_xfrm.half import Key, key_of
from ikeclone_xfrm.numbers import Direction, Msg, OffloadFlag
from ikeclone_xfrm.placement import Placement
from ikeclone_xfrm.session import Session
from ikeclone_xfrm.shelf import Shelf
from ikeclone_xfrm.states import Kernel
from ikeclone_xfrm.xfrm import AsyncXfrm

from .samples import EAST, POLICY, SA, WEST

Attributes = Iterable[tuple[str, Any]]


class State(dict[str, Any]):
    """A state as GETSA shows it: fields, and attributes by name."""

    def __init__(self, fields: dict[str, Any], attributes: Attributes) -> None:
        super().__init__(fields)
        self["id"] = {**fields["id"], "daddr": fields["id"]["daddr"].ljust(16, b"\0")}
        self["curlft"] = {"bytes": 84, "packets": 1, "add_time": 1, "use_time": 0}
        self["stats"] = {"replay_window": 0, "replay": 2, "integrity_failed": 0}
        self.attributes = dict(attributes)

    def get_attr(self, name: str) -> Any:
        return self.attributes.get(name.removeprefix("XFRMA_"))


class Dictionary:
    """States by their keys, the flags of outbound policies."""

    def __init__(self) -> None:
        self.states: dict[Key, State] = {}
        self.armed: list[bool] = []
        self.policies_on_card: set[bool] = set()
        self.takes: Callable[[int], bool] = lambda flags: True

    async def change(self, kind: Msg, fields: dict[str, Any], attributes: Attributes = ()) -> None:
        card = dict(attributes).get("OFFLOAD_DEV")
        if card is not None and kind is Msg.NEWSA and not self.takes(card["flags"]):
            raise refused(kind.name, 22, "the card is full")
        if kind is Msg.UPDPOLICY and fields["dir"] == 1:
            self.armed.append(fields["flags"] == 4)
            self.policies_on_card = {card is not None}
        elif kind is Msg.NEWSA:
            state = State(fields, attributes)
            if key_of(state["id"]) in self.states:
                raise refused(kind.name, 17)
            self.states[key_of(state["id"])] = state
        elif kind is Msg.NEWAE:
            (await self.fetch(kind, fields["id"])).attributes.update(attributes)
        elif kind is Msg.DELSA:
            await self.fetch(kind, fields)
            del self.states[key_of(fields)]

    async def fetch(self, kind: Msg, fields: dict[str, Any], attributes: Attributes = ()) -> State:
        if kind is Msg.GETPOLICY or key_of(fields) not in self.states:
            raise refused(kind.name, 3)
        return self.states[key_of(fields)]

    async def dump(self, kind: Msg) -> list[State]:
        return list(self.states.values())


class Fakes:
    """A session whose kernel is the dictionary, and without routes."""

    def __init__(self, kernel: Dictionary) -> None:
        self.xfrm, self.routes = kernel, self
        self.shelf = Shelf(cast("AsyncXfrm", kernel))
        self.placement = Placement(self.way_to)

    async def add(self, policy: Policy) -> None: ...
    async def remove(self, connection: str) -> None: ...

    async def way_to(self, remote: IPAddress) -> tuple[int | None, str | None]:
        return 1, None


@pytest.fixture
def kernel() -> Dictionary:
    return Dictionary()


@pytest.fixture
async def backend(kernel: Dictionary) -> XfrmBackend:
    made, fakes = XfrmBackend(), Fakes(kernel)
    made._session = cast("Session", fakes)
    made._kernel = Kernel(directions=True, per_cpu=True)
    await made.route(POLICY)
    return made


def sending(kernel: Dictionary) -> list[int]:
    """The SPIs of outbound states, the oldest first."""
    return [state["id"]["spi"] for state in kernel.states.values() if state.attributes["SA_DIR"] == Direction.OUT]


def successor(sa: ChildSa, spi: int, **changes: Any) -> ChildSa:
    return replace(sa, inbound_spi=spi, outbound_spi=spi + 1, **changes)


async def test_an_sa_receives_when_installed_and_sends_when_activated(backend: XfrmBackend, kernel: Dictionary) -> None:
    await backend.install(SA)
    assert sending(kernel) == []
    assert len(kernel.states) == 1
    await backend.activate(SA.inbound_spi)
    assert sending(kernel) == [SA.outbound_spi]


async def test_traps_are_armed_as_soon_as_there_is_a_fallback(backend: XfrmBackend, kernel: Dictionary) -> None:
    clone = successor(SA, 0x20000, cpu=1)
    await backend.install(clone)
    await backend.activate(clone.inbound_spi)
    assert not any(kernel.armed)
    await backend.install(SA)
    await backend.activate(SA.inbound_spi)
    assert kernel.armed[-1]


async def test_traps_stay_as_they_are_when_no_clones_are_to_be_had(backend: XfrmBackend, kernel: Dictionary) -> None:
    regular = replace(SA, clones=False)
    await backend.install(regular)
    await backend.activate(regular.inbound_spi)
    assert not any(kernel.armed)


async def test_a_rekeyed_sa_receives_a_moment_longer(
    backend: XfrmBackend, kernel: Dictionary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OVERLAP", 0.0)
    new = successor(SA, 0x20000, replaces=SA.inbound_spi)
    for sa in (SA, new):
        await backend.install(sa)
        await backend.activate(sa.inbound_spi)
    await backend.remove(SA.inbound_spi)
    assert sending(kernel) == [new.outbound_spi]
    assert len(kernel.states) == 3
    for task in list(backend._tasks):
        await task
    assert len(kernel.states) == 2


async def test_an_sa_without_a_successor_goes_at_once(backend: XfrmBackend, kernel: Dictionary) -> None:
    await backend.install(SA)
    await backend.activate(SA.inbound_spi)
    await backend.remove(SA.inbound_spi)
    assert kernel.states == {}
    await backend.remove(SA.inbound_spi)


async def test_an_older_sa_that_is_activated_again_is_the_only_one_that_sends(
    backend: XfrmBackend, kernel: Dictionary
) -> None:
    new = successor(SA, 0x20000)
    for sa in (SA, new, SA):
        if sa.inbound_spi not in backend._pairs:
            await backend.install(sa)
        await backend.activate(sa.inbound_spi)
    assert sending(kernel) == [SA.outbound_spi]


async def test_a_deactivated_sa_comes_back_with_its_counters(backend: XfrmBackend, kernel: Dictionary) -> None:
    await backend.install(SA)
    await backend.activate(SA.inbound_spi)
    await backend.deactivate(SA.inbound_spi)
    assert sending(kernel) == []
    assert (await backend.counters())[SA.inbound_spi].out_packets == 1
    await backend.activate(SA.inbound_spi)
    (state,) = (state for state in kernel.states.values() if state["id"]["spi"] == SA.outbound_spi)
    assert int.from_bytes(state.attributes["LTIME_VAL"][8:16], "little") == 1
    await backend.deactivate(0xDEAD)


# What a state that is taken out may have sent with since the kernel was asked how far it was.
MEANWHILE = 1 << 20


def numbers(kernel: Dictionary, name: str = "REPLAY_VAL") -> list[int]:
    """What the state that sends has of its sequence numbers; the last one is first."""
    (state,) = (state for state in kernel.states.values() if state["id"]["spi"] == SA.outbound_spi)
    value = state.attributes[name]
    return list(struct.unpack(f"{len(value) // 4}I", value))


async def test_sequence_numbers_are_left_out_where_it_is_and_when_it_comes_back(
    backend: XfrmBackend, kernel: Dictionary
) -> None:
    await backend.install(SA)
    await backend.activate(SA.inbound_spi)
    (sender,) = (state for state in kernel.states.values() if state["id"]["spi"] == SA.outbound_spi)
    sender.attributes["REPLAY_VAL"] = struct.pack("III", 10, 3, 7)
    await backend.skip(SA.inbound_spi, 90)
    assert numbers(kernel) == [100, 3, 7]
    await backend.deactivate(SA.inbound_spi)
    for _ in range(2):
        await backend.skip(SA.inbound_spi, 50)
    await backend.activate(SA.inbound_spi)
    assert numbers(kernel) == [200 + MEANWHILE, 3, 7]
    await backend.deactivate(SA.inbound_spi)
    await backend.activate(SA.inbound_spi)
    assert numbers(kernel) == [200 + 2 * MEANWHILE, 3, 7]
    await backend.skip(SA.inbound_spi, (1 << 32) - 200)
    assert numbers(kernel) == [(1 << 32) - 1, 3, 7]


async def test_what_is_left_out_stays_so_when_it_moves(backend: XfrmBackend, kernel: Dictionary) -> None:
    await backend.install(SA)
    await backend.activate(SA.inbound_spi)
    (sender,) = (state for state in kernel.states.values() if state["id"]["spi"] == SA.outbound_spi)
    sender.attributes["REPLAY_VAL"] = struct.pack("III", 10, 0, 0)
    await backend.deactivate(SA.inbound_spi)
    await backend.skip(SA.inbound_spi, 5)
    await backend.move(SA.inbound_spi, replace(SA.path, remote=ip_address("192.1.2.99")), False)
    await backend.activate(SA.inbound_spi)
    assert numbers(kernel) == [15 + MEANWHILE, 0, 0]
    await backend.move(SA.inbound_spi, SA.path, False)
    assert numbers(kernel) == [15 + 2 * MEANWHILE, 0, 0]


async def test_extended_sequence_numbers_are_left_out_with_both_halves(
    backend: XfrmBackend, kernel: Dictionary
) -> None:
    await backend.install(replace(SA, suite=replace(SA.suite, esn=True)))
    await backend.activate(SA.inbound_spi)
    await backend.skip(SA.inbound_spi, (1 << 33) + 5)
    assert numbers(kernel, "REPLAY_ESN_VAL") == [0, 5, 0, 2, 0, 0]


async def test_a_card_counts_for_itself(backend: XfrmBackend) -> None:
    await backend.install(SA)
    await backend.activate(SA.inbound_spi)
    backend._pairs.find(SA.inbound_spi).outbound.level = Offload.PACKET
    with pytest.raises(BackendError, match="network card counts"):
        await backend.skip(SA.inbound_spi, 5)


async def test_counters_are_those_of_both_states(backend: XfrmBackend, kernel: Dictionary) -> None:
    await backend.install(SA)
    await backend.activate(SA.inbound_spi)
    counters = (await backend.counters())[SA.inbound_spi]
    assert (counters.in_packets, counters.in_bytes, counters.out_packets, counters.out_bytes) == (1, 84, 1, 84)
    assert counters.drops == {"replayed": 2}


async def test_an_sa_moves_with_both_its_states(backend: XfrmBackend, kernel: Dictionary) -> None:
    await backend.install(SA)
    await backend.activate(SA.inbound_spi)
    await backend.move(SA.inbound_spi, replace(SA.path, remote=ip_address("192.1.2.99")), False)
    assert {ip_address(address[:4]) for address, _ in kernel.states} == {WEST, ip_address("192.1.2.99")}
    assert EAST not in {ip_address(address[:4]) for address, _ in kernel.states}


async def test_when_a_state_is_gone_the_rest_of_its_pair_goes(backend: XfrmBackend, kernel: Dictionary) -> None:
    await backend.install(SA)
    await backend.activate(SA.inbound_spi)
    del kernel.states[next(iter(kernel.states))]
    await backend.resynchronise("somebody flushed them")
    assert await backend.event() == Lost((SA.inbound_spi,), "somebody flushed them")
    for task in list(backend._tasks):
        await task
    assert kernel.states == {}


async def test_policies_that_cannot_be_put_back_leave_the_others(
    backend: XfrmBackend, kernel: Dictionary, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await backend.route(replace(POLICY, connection="other"))
    first, second = backend._connections.traps()
    put_back = []

    async def restored() -> None:
        put_back.append(second)

    async def refuses() -> None:
        raise refused("UPDPOLICY", 19)

    monkeypatch.setattr(first, "restore", refuses)
    monkeypatch.setattr(second, "restore", restored)
    await backend.resynchronise("somebody flushed them")
    assert put_back == [second]
    assert "gw: its policies cannot be put back: UPDPOLICY" in caplog.text


async def test_an_spi_that_is_in_use_is_refused(backend: XfrmBackend, kernel: Dictionary) -> None:
    await backend.install(SA)
    with pytest.raises(AlreadyThere, match="NEWSA"):
        await backend.install(SA)
    with pytest.raises(NotThere):
        await kernel.fetch(Msg.GETSA, {"daddr": b"", "spi": 1})


async def test_what_is_not_there_cannot_be_activated(backend: XfrmBackend) -> None:
    with pytest.raises(BackendError, match="0000dead"):
        await backend.activate(0xDEAD)
    with pytest.raises(BackendError, match="not started"):
        await XfrmBackend().install(SA)


def test_spis_are_fresh_and_above_those_set_apart() -> None:
    backend = XfrmBackend()
    spis = [backend.allocate_spi(None) for _ in range(1000)]
    assert len(set(spis)) == 1000
    assert min(spis) > 0xFFFF


async def test_limits_are_told_once_whoever_sees_it_first(backend: XfrmBackend, kernel: Dictionary) -> None:
    for _ in range(2):
        backend.expired(SA.inbound_spi, hard=False)
    backend.expired(SA.inbound_spi, hard=True)
    assert [await backend.event() for _ in range(2)] == [Expire(SA.inbound_spi, False), Expire(SA.inbound_spi, True)]
    assert backend._events.empty()


class TestCards:
    """A card that takes policies; what of the states it takes differs."""

    async def route(self, backend: XfrmBackend, wanted: Offload) -> ChildSa:
        handling = Handling(offload=wanted)
        await backend.route(replace(POLICY, handling=handling))
        return replace(SA, handling=handling)

    async def test_all_of_it(self, backend: XfrmBackend, kernel: Dictionary) -> None:
        sa = await self.route(backend, Offload.AUTO)
        await backend.install(sa)
        await backend.activate(sa.inbound_spi)
        assert kernel.policies_on_card == {True}
        assert backend.describe()["offload"] == "gw: in packet out packet"

    async def test_auto_falls_back_when_the_card_is_full(self, backend: XfrmBackend, kernel: Dictionary) -> None:
        """Policies and all states leave the card: those on it would serve no policy that is not."""
        sa = await self.route(backend, Offload.AUTO)
        await backend.install(sa)
        await backend.activate(sa.inbound_spi)
        kernel.takes = lambda flags: not flags & OffloadFlag.PACKET
        clone = successor(sa, 0x20000, cpu=1)
        await backend.install(clone)
        await backend.activate(clone.inbound_spi)
        assert kernel.policies_on_card == {False}
        assert len(kernel.states) == 4
        assert backend.describe()["offload"] == "gw: in crypto out crypto"
        await backend.route(replace(POLICY, handling=sa.handling))
        assert kernel.policies_on_card == {False}, "it does not try again"

    async def test_auto_falls_back_to_software(self, backend: XfrmBackend, kernel: Dictionary) -> None:
        sa = await self.route(backend, Offload.AUTO)
        kernel.takes = lambda flags: False
        await backend.install(sa)
        await backend.activate(sa.inbound_spi)
        assert sending(kernel) == [sa.outbound_spi]
        assert kernel.policies_on_card == {False}
        assert backend.describe()["offload"] == "gw: in no out no"

    async def test_packet_is_refused_by_name(self, backend: XfrmBackend, kernel: Dictionary) -> None:
        sa = await self.route(backend, Offload.PACKET)
        kernel.takes = lambda flags: False
        with pytest.raises(BackendError, match="lo refuses nic-offload=packet: the card is full"):
            await backend.install(sa)


async def test_parts_send_by_their_own_states_and_receive_by_those_of_all(
    backend: XfrmBackend, kernel: Dictionary
) -> None:
    """Somebody's own policies lead to the wider of two Child SAs that a packet fits."""
    part = successor(SA, 0x20000, connection="gw[1]", whole="gw")
    other = successor(SA, 0x30000, connection="other")
    for sa in (SA, part, other):
        await backend.route(replace(POLICY, connection=sa.connection, whole=sa.whole))
        await backend.install(sa)
        await backend.activate(sa.inbound_spi)
    reqids = {state["id"]["spi"]: state["reqid"] for state in kernel.states.values()}
    assert reqids[SA.inbound_spi] == reqids[part.inbound_spi] == reqids[SA.outbound_spi]
    assert len({reqids[sa.outbound_spi] for sa in (SA, part, other)}) == 3
    assert reqids[other.inbound_spi] == reqids[other.outbound_spi]
    (trap,) = [trap for trap in backend._connections.traps() if trap.policy.connection == "gw[1]"]
    assert [more["TMPL"]["reqid"] for _, more in ((f, dict(a)) for f, a in trap._installed)] == [
        reqids[part.outbound_spi], reqids[SA.inbound_spi], reqids[SA.inbound_spi]
    ]  # fmt: skip
    assert {trap.policy.connection for trap in backend.traps_with(reqids[SA.inbound_spi])} == {"gw", "gw[1]"}
    await backend.move(part.inbound_spi, replace(part.path, remote=ip_address("192.1.2.99")), False)
    assert {state["id"]["spi"]: state["reqid"] for state in kernel.states.values()} == reqids


async def test_a_reqid_stays_as_long_as_a_part_has_it(backend: XfrmBackend) -> None:
    part = successor(SA, 0x20000, connection="gw[1]", whole="gw")
    for sa in (SA, part):
        await backend.route(replace(POLICY, connection=sa.connection, whole=sa.whole))
        await backend.install(sa)
    reqid = backend._connections.reqid("gw")
    await backend.remove(SA.inbound_spi)
    await backend.unroute("gw")
    assert backend._connections.reqid("gw") == reqid
    await backend.unroute("gw[1]")
    assert backend._connections.reqid("gw") == reqid
    await backend.remove(part.inbound_spi)
    assert backend._connections.reqid("gw") != reqid
