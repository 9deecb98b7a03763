"""What every command shares: asking the daemon, printing reports, and errors as one sentence."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from ikeclone.control.client import call
from ikeclone.control.models import ClonesReport, Command, DoctorReport, Done, Report, StatusReport, TrafficReport
from ikeclone.control.views import clones_table, doctor_table, printable, status_tables, whack_lines
from ikeclone.errors import LocalError
from ikeclone.selectors import IPAddress

# Wide enough that a pipe or a file gets each row of a table on one line.
_UNBOUNDED = 1000


class Group(TyperGroup):
    """The commands; an error that says what to do is told without a traceback, with exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LocalError as error:
            typer.echo(f"ikeclone: {error}", err=True)
            raise typer.Exit(1) from error


def ask(ctx: typer.Context, command: Command) -> Report:
    """Have the daemon carry out a command, printing its progress. Raises ControlError."""
    path: Path = ctx.obj
    return call(path, command, lambda text: typer.echo(printable(text)))


def address(text: str) -> IPAddress:
    """The address that an argument gives; raises BadParameter."""
    try:
        return ip_address(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not an IP address; names are not looked up") from None


def answers(ctx: typer.Context) -> bool:
    """Whether a daemon runs."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(ctx.obj)) == 0


def tell(report: Report, json: bool = False) -> None:
    """Print a report for a person or, with `json`, for a program."""
    if json:
        typer.echo(report.model_dump_json(indent=2))
    elif isinstance(report, Done):
        if report.text:
            typer.echo(printable(report.text))
    else:
        _show(report)


def _show(report: TrafficReport | ClonesReport | StatusReport | DoctorReport) -> None:
    match report:
        case TrafficReport():
            for line in whack_lines(report):
                typer.echo(line)
        case ClonesReport():
            _console().print(clones_table(report))
        case StatusReport():
            _console().print(status_tables(report))
        case DoctorReport():
            _console().print(doctor_table(report))


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_UNBOUNDED)
