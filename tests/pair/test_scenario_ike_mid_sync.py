"""Synchronising message IDs with a cluster that has failed over, message by message. East is the cluster."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import pytest

from ikeclone.backend import Path
from ikeclone.ike.actions import Datagram
from ikeclone.ike.informational import Liveness
from ikeclone.ike.state import State
from ikeclone.numbers import ExchangeType, NotifyType
from ikeclone.wire.message import Header
from ikeclone.wire.payloads import Notify
from tests.pair.groups import ask
from tests.pair.network import Network, Side
from tests.pair.scenario import assert_carries, assert_one_tunnel, by_hand, ike_sa, notifies
from tests.pair.test_strays import MALFORMED, seal_raw

SYNC = struct.Struct(">4sII")
NONCE = b"\x01\x02\x03\x04"
FIRST = 2  # west's first request after IKE_SA_INIT and IKE_AUTH; east's first one is 0


@dataclass(frozen=True)
class Case:
    """Exchanges that each side has begun before, and how far the IDs that the cluster proposes are ahead of these."""

    west: int
    east: int
    send: int
    recv: int

    @property
    def proposed(self) -> tuple[int, int]:
        """The cluster's next message ID and the one that it expects from west."""
        return self.east + self.send, FIRST + self.west + self.recv


CASES = [
    Case(west, east, send, recv)
    for west, east in ((0, 0), (3, 0), (1, 2))
    for send, recv in ((0, 0), (1, 0), (7, 4))
]  # fmt: skip
cases = pytest.mark.parametrize("case", CASES, ids=str)


def exchanges(net: Network, side: Side, count: int = 1) -> None:
    """So many exchanges that a side begins."""
    for _ in range(count):
        before = len(ike_sa(side).requests.outstanding)
        ask(side, Liveness(ike_sa(side)))
        net.peer(side).take()
        side.take()
        assert len(ike_sa(side).requests.outstanding) == before


def tunnel(case: Case) -> Network:
    net = by_hand()
    exchanges(net, net.west, case.west)
    exchanges(net, net.east, case.east)
    return net


def synchronise(net: Network, send: int, recv: int) -> Datagram:
    """The cluster's request, on its way to west."""
    sa = ike_sa(net.east)
    header = Header(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, 0, sa.initiator, False)
    notify = Notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, SYNC.pack(NONCE, send, recv))
    (data,) = sa.seal(header, (notify,))
    net.west.inbox.append(Datagram(data, Path(sa.path.local, sa.path.remote)))
    return net.west.inbox[0]


def answer(net: Network) -> tuple[int, int]:
    """The message IDs that west answers with: its next one, and the one that it expects."""
    message = net.east.read()
    assert (message.header.message_id, message.header.response) == (0, True)
    notify = message.notify(NotifyType.IKEV2_MESSAGE_ID_SYNC)
    assert notify is not None
    nonce, send, recv = SYNC.unpack(notify.data)
    assert nonce == NONCE
    return send, recv


def go_on(net: Network) -> None:
    """The cluster goes on with what west has answered."""
    send, recv = answer(net)
    net.east.inbox.popleft()
    sa = ike_sa(net.east)
    sa.responses.restart(send)
    sa.requests.renumber(recv, net.now)


def both_work(net: Network) -> None:
    exchanges(net, net.west)
    exchanges(net, net.east)
    assert_one_tunnel(net)


def ids(side: Side) -> tuple[int, int]:
    """A side's next message ID, and the one that it expects."""
    sa = ike_sa(side)
    return sa.requests.next_id, sa.responses.expected


@cases
def test_responder(case: Case) -> None:
    net = tunnel(case)
    send, recv = case.proposed
    synchronise(net, send, recv)
    net.west.take()
    assert answer(net) == (recv, send) == ids(net.west)
    go_on(net)
    both_work(net)


@cases
def test_retransmit(case: Case) -> None:
    """The answer is lost: the same request gets the same one."""
    net = tunnel(case)
    again = synchronise(net, *case.proposed)
    net.west.take()
    lost = net.east.inbox.popleft()
    net.west.inbox.append(again)
    net.west.take()
    assert net.east.inbox[0].data == lost.data
    go_on(net)
    both_work(net)


@cases
def test_replay(case: Case) -> None:
    """An old request does nothing, however it is sent again."""
    net = tunnel(case)
    old = synchronise(net, *case.proposed)
    net.west.take()
    go_on(net)
    exchanges(net, net.west)
    exchanges(net, net.east)
    before = ids(net.west)
    net.west.inbox.append(old)
    net.west.take()
    assert not net.east.inbox
    assert ids(net.west) == before
    assert net.west.endpoint.counters["stale message id synchronisation"] == 1
    assert_one_tunnel(net)


@cases
def test_disabled(case: Case) -> None:
    """Without both sides' word for it in IKE_AUTH the request does nothing."""
    net = tunnel(case)
    ike_sa(net.west).ids.agreed = False
    before = ids(net.west)
    synchronise(net, *case.proposed)
    net.west.take()
    assert not net.east.inbox
    assert ids(net.west) == before
    both_work(net)


@pytest.mark.parametrize("case", [Case(0, 1, -1, 0), Case(1, 3, -1, 0), Case(1, 3, -2, 5)], ids=str)
def test_sender_too_low(case: Case) -> None:
    """The cluster proposes an ID that it has used already: somebody plays an old request."""
    net = tunnel(case)
    before = ids(net.west)
    synchronise(net, *case.proposed)
    net.west.take()
    assert not net.east.inbox
    assert ids(net.west) == before
    both_work(net)


@pytest.mark.parametrize(
    "case", [Case(0, 0, 0, -2), Case(0, 0, 0, -1), Case(0, 0, 1, -1), Case(1, 0, 0, -2), Case(1, 0, 5, -1)], ids=str
)
def test_recv_update(case: Case) -> None:
    """The cluster expects an ID that west has used already: it learns the right one."""
    net = tunnel(case)
    send, recv = case.proposed
    synchronise(net, send, recv)
    net.west.take()
    assert answer(net) == (recv - case.recv, send)
    go_on(net)
    both_work(net)


@pytest.mark.parametrize("case", [case for case in CASES if case != CASES[-1]], ids=str)
def test_active(case: Case) -> None:
    """A request of west's was lost in the failover: it is sent anew with the next ID of those that are agreed on."""
    net = tunnel(case)
    ask(net.west, Liveness(ike_sa(net.west)))
    net.east.inbox.clear()
    send, recv = case.proposed
    synchronise(net, send, recv)
    net.west.take()
    start = max(recv, FIRST + case.west + 1)
    assert answer(net) == (start, send)
    assert net.east.read(1).header.message_id == start
    go_on(net)
    net.east.take()
    net.west.take()
    assert not ike_sa(net.west).requests.outstanding
    both_work(net)


def test_no_ids_left() -> None:
    net = by_hand()
    synchronise(net, 0, 2**32 - 1)
    net.west.take()
    assert not net.east.inbox
    both_work(net)


@pytest.mark.parametrize("data", [b"", NONCE + bytes(7), NONCE + bytes(9)])
def test_out_of_shape(data: bytes) -> None:
    net = by_hand()
    sa = ike_sa(net.east)
    header = Header(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, 0, sa.initiator, False)
    (datagram,) = sa.seal(header, (Notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, data),))
    net.west.inbox.append(Datagram(datagram, Path(sa.path.local, sa.path.remote)))
    net.west.take()
    assert not net.east.inbox
    both_work(net)


def test_forged() -> None:
    """Without the keys nobody can set message IDs."""
    net = by_hand()
    request = synchronise(net, 7, 7)
    net.west.inbox[0] = replace(request, data=request.data[:-1] + bytes([request.data[-1] ^ 1]))
    before = ids(net.west)
    net.west.take()
    assert not net.east.inbox
    assert ids(net.west) == before
    assert net.west.endpoint.counters["integrity check failed"] > 0
    both_work(net)


def test_malformed() -> None:
    """What is authentic and makes no sense is no synchronisation: it ends the IKE SA as any such request does."""
    net = by_hand()
    sa = ike_sa(net.east)
    header = Header(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, 0, sa.initiator, False)
    net.west.inbox.append(Datagram(seal_raw(sa, header, *MALFORMED), Path(sa.path.local, sa.path.remote)))
    net.west.take()
    assert notifies(net.east) == {NotifyType.INVALID_SYNTAX}
    assert net.west.ike is None


def test_after_a_rekey_and_with_a_request_that_changes_children() -> None:
    """The successor of an IKE SA knows it too; a rekey of a Child SA that was under way is done once."""
    net = by_hand()
    net.release()
    net.west.rekey(ike=True)
    net.run(5)
    net.hold()
    assert ike_sa(net.west).ids.agreed
    net.west.rekey()
    net.east.inbox.clear()
    synchronise(net, 3, 1)
    net.west.take()
    go_on(net)
    net.release()
    net.run(10)
    for side in net.sides:
        assert [sa.state for sa in side.endpoint.ike_sas() if sa.state is not State.DEAD] == [State.ESTABLISHED]
    assert_carries(net)
    net.assert_consistent()
