"""Reports as lines and tables."""

from __future__ import annotations

import pytest
from rich.console import Console, RenderableType

from ikeclone.control.models import (
    ChildRow,
    CloneRow,
    ClonesReport,
    ConnectionRow,
    IkeSaRow,
    PoolRow,
    StatusReport,
    TrafficReport,
    TrafficRow,
)
from ikeclone.control.views import clones_table, printable, span, status_tables, whack_lines


def row(serial: int, instance: int, octets: int = 0, connection: str = "westnet-eastnet") -> TrafficRow:
    return TrafficRow(
        serial=serial,
        name=f"{connection}-{instance}",
        connection=connection,
        instance=instance,
        add_time=1234567890,
        in_bytes=octets,
        out_bytes=octets,
        in_packets=octets // 84,
        out_packets=octets // 84,
        id="@east",
        cpu=instance - 1 if instance else None,
    )


def rendered(view: RenderableType) -> list[str]:
    console = Console(width=1000)
    with console.capture() as capture:
        console.print(view)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_whack_lines() -> None:
    report = TrafficReport(rows=[row(3, 2, 168), row(4, 1, 168), row(2, 0)])
    assert list(whack_lines(report)) == [
        "006 #2: \"westnet-eastnet-0\", type=ESP, add_time=1234567890, inBytes=0, outBytes=0, id='@east'",
        "006 #4: \"westnet-eastnet-1\", type=ESP, add_time=1234567890, inBytes=168, outBytes=168, id='@east'",
        "006 #3: \"westnet-eastnet-2\", type=ESP, add_time=1234567890, inBytes=168, outBytes=168, id='@east'",
    ]


def test_whack_lines_go_by_connection_then_by_number() -> None:
    rows = [row(5, 0, connection="b"), *(row(9 - n, n, connection="a") for n in (10, 2, 1))]
    assert [line.split('"')[1] for line in whack_lines(TrafficReport(rows=rows))] == ["a-1", "a-2", "a-10", "b-0"]


def test_a_peer_sends_nothing_to_the_terminal() -> None:
    hostile = row(2, 0).model_copy(update={"id": "@\x1b[2Jeast\n006 #3\u202e"})
    (line,) = whack_lines(TrafficReport(rows=[hostile]))
    assert line.endswith(r"id='@\x1b[2Jeast\n006 #3\u202e'")
    assert printable("grün [bold] ok") == "grün [bold] ok"


def test_clones_table() -> None:
    used = CloneRow(
        name="west-1",
        cpu=0,
        state="established",
        inbound_spi="c0ffee01",
        outbound_spi="c0ffee02",
        in_bytes=840,
        in_packets=10,
        out_bytes=1680,
        out_packets=20,
        age=125,
        last_used=4,
        next_rekey=27000,
        opened_by="us",
        over_fallback=3,
    )
    unbound = {"name": "west-0", "cpu": None, "last_used": None, "next_rekey": None, "over_fallback": 0}
    rows = [used.model_copy(update=unbound), used]
    report = ClonesReport(connection="west", limit=2, rows=[*rows, CloneRow(name="west-2", cpu=1, state="no traffic")])
    assert rendered(clones_table(report)) == [
        "name cpu state over fallback in SPI out SPI in out age used rekey by",
        "west-0 any established - c0ffee01 c0ffee02 10 pkt 840 B 20 pkt 1680 B 2m 5s never - us",
        "west-1 0 established 3 pkt c0ffee01 c0ffee02 10 pkt 840 B 20 pkt 1680 B 2m 5s 4s ago in 7h 30m us",
        "west-2 1 no traffic -",
        "at most 2 clones",
    ]


@pytest.mark.parametrize(
    ("retry_in", "text"),
    [
        (30.0, "at most 2 clones; the peer takes no more (TS_MAX_QUEUE): not asking for 30s"),
        (None, "at most 2 clones; the peer takes no more (TS_MAX_QUEUE): not asking until it comes up anew"),
    ],
)
def test_a_peer_that_refuses(retry_in: float | None, text: str) -> None:
    report = ClonesReport(connection="west", limit=2, rows=[], refused=True, retry_in=retry_in, refusals=3)
    assert rendered(clones_table(report))[-1] == f"{text}; refused 3 so far"


def test_status_tables() -> None:
    child = ChildRow(
        serial=2,
        name="west-0",
        cpu=None,
        state="established",
        suite="AES_GCM_16_256",
        inbound_spi="c0ffee01",
        outbound_spi="c0ffee02",
        age=60,
        rekey_in=7200,
    )
    ike_sa = IkeSaRow(
        serial=1,
        connection="west",
        state="established",
        local_id="@west",
        remote_id="[red]@east",
        path="192.1.2.45[500]...192.1.2.23[500]",
        suite="AES_GCM_16_256-X25519",
        spi_i="0102030405060708",
        spi_r="1112131415161718",
        age=61,
        children=[child],
    )
    connection = ConnectionRow(
        name="west",
        auto="add",
        local="192.1.2.45[@west]",
        remote="192.1.2.23[@east]",
        local_selectors=["192.0.1.0/24"],
        remote_selectors=["192.0.2.0/24"],
        state="up",
        clones=None,
    )
    report = StatusReport(
        version="0.1.0",
        uptime=90061,
        backend="esp",
        data_plane={"workers": "2"},
        connections=[connection],
        ike_sas=[ike_sa],
        counters={"retransmissions": 3, "cookies": 0},
    )
    assert rendered(status_tables(report)) == [
        "ikeclone 0.1.0, up 1d 1h, data plane esp",
        "workers: 2",
        "connection state auto clones local remote traffic",
        "west up add per CPU 192.1.2.45[@west] 192.1.2.23[@east] 192.0.1.0/24 === 192.0.2.0/24",
        "IKE SA connection state peers path suite SPIs age rekey",
        (
            "#1 west established @west...[red]@east 192.1.2.45[500]...192.1.2.23[500] AES_GCM_16_256-X25519 "
            "0102030405060708 1112131415161718 1m 1s -"
        ),
        "Child SA name IKE SA cpu state suite in SPI out SPI age rekey",
        "#2 west-0 #1 any established AES_GCM_16_256 c0ffee01 c0ffee02 1m 0s in 2h 0m",
        "retransmissions: 3",
    ]


def test_status_tells_of_addresses_inside_tunnels() -> None:
    """Those that peers gave us, with name servers and the domains these are for; and who has what of each pool."""
    connection = ConnectionRow(
        name="road",
        auto="add",
        local="192.1.2.45",
        remote="192.1.2.23",
        local_selectors=["10.3.0.1/32"],
        remote_selectors=["0.0.0.0/0"],
        state="up",
        clones=0,
        addresses=["10.3.0.1"],
        dns=["192.0.2.53"],
        domains=["example.com"],
    )
    pool = PoolRow(pool="10.4.0.1-10.4.0.9", size=9, leases={"10.4.0.1": "alice", "10.4.0.2": "bob"})
    report = StatusReport(
        version="0.1.0",
        uptime=1,
        backend="esp",
        data_plane={},
        connections=[connection],
        ike_sas=[],
        counters={},
        pools=[pool],
    )
    lines = rendered(status_tables(report))
    assert "road: address 10.3.0.1 DNS 192.0.2.53 for example.com" in lines
    assert "pool 10.4.0.1-10.4.0.9: 2 of 9 leased, 10.4.0.1 to alice, 10.4.0.2 to bob" in lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (0.4, "0s"), (59.6, "1m 0s"), (125, "2m 5s"), (28799, "7h 59m"), (90061, "1d 1h")],
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_whack_lines_of_an_instance_name_its_peer() -> None:
    instance = row(4, 1, connection="road[3]").model_copy(update={"peer": "192.0.2.7"})
    (line,) = whack_lines(TrafficReport(rows=[instance]))
    assert line.startswith('006 #4: "road-1"[3] 192.0.2.7, type=ESP, ')
