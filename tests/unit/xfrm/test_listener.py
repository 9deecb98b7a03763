"""The kernel's messages become events of the contract."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any, cast

from ikeclone.backend import Acquire, ChildSa, Event, Expire, Remapped, TrafficSelector
from ikeclone_xfrm.half import Key
from ikeclone_xfrm.larval import Larval
from ikeclone_xfrm.listener import Listener
from ikeclone_xfrm.messages import XfrmMarshal
from ikeclone_xfrm.numbers import IPPROTO_ESP, Msg
from ikeclone_xfrm.policies import messages
from ikeclone_xfrm.shelf import Shelf
from ikeclone_xfrm.structs import packed
from ikeclone_xfrm.trap import ENOUGH, Trap
from ikeclone_xfrm.xfrm import AsyncXfrm

from .conftest import Encode
from .samples import EAST, POLICY, REQID, SA, WEST
from .test_trap import Recorder

REQUESTER, SOMEBODY = 4711, 4712
SELECTOR = {
    "saddr": packed(ip_address("192.0.1.7")).ljust(16, b"\0"),
    "daddr": packed(ip_address("192.0.2.9")).ljust(16, b"\0"),
    "sport": 50000,
    "sport_mask": 0xFFFF,
    "dport": 443,
    "dport_mask": 0xFFFF,
    "family": 2,
    "proto": 6,
}
PACKET = (
    TrafficSelector.of(ip_network("192.0.1.7"), 6, 50000),
    TrafficSelector.of(ip_network("192.0.2.9"), 6, 443),
)


class Audience:
    """Knows one trap and one SA."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.trap = Trap(Shelf(cast("AsyncXfrm", self.recorder)), POLICY, REQID, lambda _: None)
        self.heard: list[Event] = []
        self.waiting: list[Larval] = []
        self.news = asyncio.Event()
        self.gone: list[int] = []
        self.reasons: list[str] = []

    def tell(self, event: Event) -> None:
        self.heard.append(event)
        self.news.set()

    def expired(self, spi: int, *, hard: bool) -> None:
        self.tell(Expire(spi, hard))

    def waits(self, larval: Larval) -> None:
        self.waiting.append(larval)

    def trap_of(self, reqid: int) -> Trap | None:
        return self.trap if reqid == REQID else None

    def traps_with(self, reqid: int) -> list[Trap]:
        return [self.trap] if reqid == REQID else []

    def sa_of(self, key: Key) -> ChildSa | None:
        known = {(packed(WEST).ljust(16, b"\0"), SA.inbound_spi), (packed(EAST).ljust(16, b"\0"), SA.outbound_spi)}
        return SA if key in known else None

    def lost(self, spis: tuple[int, ...], reason: str) -> None:
        self.gone += spis

    async def resynchronise(self, reason: str) -> None:
        self.reasons.append(reason)
        self.news.set()


async def hear(audience: Audience, encode: Encode, kind: Msg, fields: Any, attributes: Any = (), by: int = 0) -> None:
    """Have the listener hear one message, caused by the requester with port `by`."""
    body = encode(kind, fields, attributes)
    numbers = ((16 + len(body), 4), (kind, 2), (0, 2), (0, 4), (by, 4))
    header = b"".join(int(number).to_bytes(size, "little") for number, size in numbers)
    (message,) = XfrmMarshal().parse(header + body)
    await Listener(audience, REQUESTER)._heard(message)


async def acquire(audience: Audience, encode: Encode, cpu: int | None, reqid: int = REQID) -> None:
    (fields, attributes), *_ = messages(POLICY, reqid)
    where = [("SA_PCPU", cpu)] if cpu is not None else []
    await hear(audience, encode, Msg.ACQUIRE, {"sel": SELECTOR, "policy": fields}, [*attributes, *where])


async def test_acquires_of_our_policies_name_connection_and_cpu(encode: Encode) -> None:
    audience = Audience()
    await acquire(audience, encode, None)
    await acquire(audience, encode, 2)
    await acquire(audience, encode, 2)
    await acquire(audience, encode, 2, reqid=1)
    assert audience.heard == [Acquire("gw", None, PACKET), Acquire("gw", 2, PACKET)]
    assert [larval.packet for larval in audience.waiting] == [PACKET]


async def test_a_stream_of_acquires_disarms_the_trap(encode: Encode) -> None:
    audience = Audience()
    await audience.trap.install(POLICY)
    await audience.trap.arm(changed=True)
    audience.recorder.took()
    for _ in range(ENOUGH + 1):
        await acquire(audience, encode, 2)
    assert audience.recorder.took() == [(Msg.UPDPOLICY, 1, 0)]
    assert audience.heard == [Acquire("gw", 2, PACKET)]
    await audience.trap.remove()


async def test_a_peer_that_moved(encode: Encode) -> None:
    audience = Audience()
    fields = {
        "id": {"daddr": packed(WEST), "spi": SA.inbound_spi, "family": 2, "proto": IPPROTO_ESP},
        "reqid": REQID,
        "new_saddr": packed(ip_address("203.0.113.9")).ljust(16, b"\0"),
        "new_sport": 61000,
    }
    await hear(audience, encode, Msg.MAPPING, fields)
    (event,) = audience.heard
    assert isinstance(event, Remapped)
    assert (event.inbound_spi, str(event.path)) == (SA.inbound_spi, "192.1.2.45[500]...203.0.113.9[61000]")


async def test_an_expired_state(encode: Encode) -> None:
    audience = Audience()
    state = {"id": {"daddr": packed(EAST), "spi": SA.outbound_spi, "proto": IPPROTO_ESP}}
    await hear(audience, encode, Msg.EXPIRE, {"state": state, "hard": 1})
    larval = {"id": {"daddr": packed(EAST), "spi": 0, "proto": IPPROTO_ESP}}
    await hear(audience, encode, Msg.EXPIRE, {"state": larval, "hard": 1})
    assert audience.heard == [Expire(SA.inbound_spi, hard=True)]


async def test_what_others_delete_is_lost_and_what_we_delete_is_not(encode: Encode) -> None:
    audience = Audience()
    name = {"daddr": packed(WEST), "spi": SA.inbound_spi, "family": 2, "proto": IPPROTO_ESP}
    await hear(audience, encode, Msg.DELSA, name, by=REQUESTER)
    assert audience.gone == []
    await hear(audience, encode, Msg.DELSA, name, by=SOMEBODY)
    assert audience.gone == [SA.inbound_spi]


async def test_a_flush_is_a_reason_to_look(encode: Encode) -> None:
    audience = Audience()
    await hear(audience, encode, Msg.FLUSHSA, {"proto": 0}, by=SOMEBODY)
    await hear(audience, encode, Msg.FLUSHPOLICY, {}, by=SOMEBODY)
    assert len(audience.reasons) == 2
