"""A report as text: whack's lines, or tables for a terminal.

Peers choose their identities, so whatever is not printable is escaped before a terminal sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ikeclone.control.models import (
    ChildRow,
    CloneRow,
    ClonesReport,
    ConnectionRow,
    DoctorReport,
    IkeSaRow,
    PoolRow,
    StatusReport,
    TrafficReport,
    TrafficRow,
)

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def whack_lines(report: TrafficReport) -> Iterator[str]:
    """The lines of `ipsec whack --trafficstatus`, by connection and instance."""
    for row in sorted(report.rows, key=lambda row: (row.connection, row.instance, row.serial)):
        yield _whack_line(row)


def _whack_line(row: TrafficRow) -> str:
    return printable(
        f"006 #{row.serial}: {_whack_name(row)}, type={row.type}, add_time={row.add_time}, "
        f"inBytes={row.in_bytes}, outBytes={row.out_bytes}, id='{row.id}'"
    )


def _whack_name(row: TrafficRow) -> str:
    """The name in quotes; an instance's number and its peer's address follow."""
    if row.peer is None:
        return f'"{row.name}"'
    template, _, rest = row.name.rpartition("[")
    number, _, clone = rest.partition("]")
    return f'"{template}{clone}"[{number}] {row.peer}'


def clones_table(report: ClonesReport) -> RenderableType:
    """A line for the fallback and each CPU."""
    table = _table(
        "name", "cpu", "state", "over fallback", "in SPI", "out SPI", "in", "out", "age", "used", "rekey", "by"
    )
    for row in report.rows:
        table.add_row(*map(_cell, _clone_cells(row)))
    return Group(table, Text(_limit(report)))


def _clone_cells(row: CloneRow) -> Iterable[str]:
    head = row.name, _cpu(row.cpu), row.state, f"{row.over_fallback} pkt" if row.over_fallback else "-"
    if not row.inbound_spi:
        return head
    return (
        *head,
        row.inbound_spi,
        row.outbound_spi,
        _traffic(row.in_packets, row.in_bytes),
        _traffic(row.out_packets, row.out_bytes),
        span(row.age),
        "never" if row.last_used is None else f"{span(row.last_used)} ago",
        _in(row.next_rekey),
        row.opened_by or "-",
    )


def _limit(report: ClonesReport) -> str:
    text = f"at most {report.limit} clones"
    if report.refused:
        again = "until it comes up anew" if report.retry_in is None else f"for {span(report.retry_in)}"
        text += f"; the peer takes no more ({report.refusal}): not asking {again}"
    if report.refusals:
        text += f"; refused {report.refusals} so far"
    return text


def status_tables(report: StatusReport) -> RenderableType:
    """The daemon, its connections, its SAs and its counters."""
    parts: list[RenderableType] = [
        Text(f"ikeclone {report.version}, up {span(report.uptime)}, data plane {report.backend}"),
        _pairs(report.data_plane),
        _connections(report.connections),
    ]
    if internal := _internal(report):
        parts.append(_pairs(internal))
    if report.ike_sas:
        parts += [_ike_sas(report.ike_sas), _children(report.ike_sas)]
    return Group(*parts, _pairs({name: str(count) for name, count in report.counters.items() if count}))


def doctor_table(report: DoctorReport) -> RenderableType:
    """A line for each finding."""
    table = _table("what", "verdict", "found", "advice")
    for finding in report.findings:
        table.add_row(*map(_cell, (finding.subject, finding.verdict, finding.text, finding.advice)))
    return table


def _connections(rows: list[ConnectionRow]) -> Table:
    table = _table("connection", "state", "auto", "clones", "local", "remote", "traffic")
    for row in rows:
        traffic = f"{' '.join(row.local_selectors)} === {' '.join(row.remote_selectors)}"
        clones = "per CPU" if row.clones is None else str(row.clones)
        cells = row.name, row.state, row.auto, clones, row.local, row.remote, traffic
        table.add_row(*map(_cell, cells))
    return table


def _internal(report: StatusReport) -> dict[str, str]:
    """Addresses inside tunnels: those that peers gave us, and those that are leased to peers."""
    given = {row.name: _words("address", row.addresses) + _words("DNS", row.dns) for row in report.connections}
    names = {row.name: _words("for", row.domains) for row in report.connections}
    pools = {f"pool {row.pool}": _leases(row) for row in report.pools}
    return {name: text + names[name] for name, text in given.items() if text} | pools


def _words(label: str, values: list[str]) -> str:
    return " ".join((label, *values, "")) if values else ""


def _leases(row: PoolRow) -> str:
    holders = [f"{address} to {peer}" for address, peer in row.leases.items()]
    return ", ".join((f"{len(row.leases)} of {row.size} leased", *holders))


def _ike_sas(rows: list[IkeSaRow]) -> Table:
    table = _table("IKE SA", "connection", "state", "peers", "path", "suite", "SPIs", "age", "rekey")
    for row in rows:
        peers = f"{row.local_id}...{row.remote_id}"
        cells = (
            f"#{row.serial}",
            row.connection,
            row.state,
            peers,
            row.path,
            row.suite,
            f"{row.spi_i} {row.spi_r}",
        )
        table.add_row(*map(_cell, (*cells, span(row.age), _in(row.rekey_in))))
    return table


def _children(rows: list[IkeSaRow]) -> Table:
    table = _table("Child SA", "name", "IKE SA", "cpu", "state", "suite", "in SPI", "out SPI", "age", "rekey")
    for row in rows:
        for child in row.children:
            table.add_row(*map(_cell, _child_cells(child, row.serial)))
    return table


def _child_cells(row: ChildRow, parent: int) -> Iterable[str]:
    head = f"#{row.serial}", row.name, f"#{parent}", _cpu(row.cpu), row.state, row.suite
    return *head, row.inbound_spi, row.outbound_spi, span(row.age), _in(row.rekey_in)


def _pairs(values: dict[str, str]) -> RenderableType:
    return Text("\n".join(f"  {printable(name)}: {printable(value)}" for name, value in values.items()))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cell(text: str) -> Text:
    return Text(printable(text))


def _cpu(cpu: int | None) -> str:
    return "any" if cpu is None else str(cpu)


def _in(seconds: float | None) -> str:
    return "-" if seconds is None else f"in {span(seconds)}"


def _traffic(packets: int, octets: int) -> str:
    return f"{packets} pkt {octets} B"


def span(seconds: float) -> str:
    """A time as a person says it, in its largest unit but one: 1d 3h, 7h 59m, 2m 5s, 12s."""
    rest = max(0, round(seconds))
    for (size, unit), (smaller, smaller_unit) in zip(_UNITS, (*_UNITS[1:], (1, "s")), strict=True):
        if rest >= size:
            return f"{rest // size}{unit} {rest % size // smaller}{smaller_unit}"
    return f"{rest}s"


def printable(text: str) -> str:
    """The text with every character escaped that a terminal would act on."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
