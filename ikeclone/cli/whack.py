"""`ikeclone auto` and `ikeclone whack`: the same commands in the words of Libreswan's `ipsec`."""

from __future__ import annotations

from typing import Annotated

import typer

from ikeclone.cli.app import address, ask, tell
from ikeclone.control.models import Command, Down, Redirect, Status, TrafficStatus, Up

NAME = typer.Option(metavar="NAME")


def auto(
    ctx: typer.Context,
    up: Annotated[str | None, NAME] = None,
    down: Annotated[str | None, NAME] = None,
) -> None:
    """`ipsec auto`: bring a connection --up or --down."""
    match up, down:
        case str(name), None:
            tell(ask(ctx, Up(name=name)))
        case None, str(name):
            tell(ask(ctx, Down(name=name)))
        case _:
            raise typer.BadParameter("give one of --up NAME and --down NAME")


def whack(
    ctx: typer.Context,
    name: Annotated[str | None, NAME] = None,
    trafficstatus: Annotated[bool, typer.Option("--trafficstatus")] = False,
    status: Annotated[bool, typer.Option("--status")] = False,
    initiate: Annotated[bool, typer.Option("--initiate")] = False,
    terminate: Annotated[bool, typer.Option("--terminate", "--down")] = False,
    redirect_to: Annotated[str | None, typer.Option(metavar="ADDRESS")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """`ipsec whack`: --trafficstatus, --status and others.

    All but --status and --trafficstatus need --name NAME.
    """
    commands: list[Command] = []
    if trafficstatus:
        commands.append(TrafficStatus(name=name))
    if status:
        commands.append(Status())
    if initiate:
        commands.append(Up(name=_required(name)))
    if terminate:
        commands.append(Down(name=_required(name)))
    if redirect_to is not None:
        commands.append(Redirect(name=_required(name), to=address(redirect_to)))
    if len(commands) != 1:
        raise typer.BadParameter("give one of --trafficstatus, --status, --initiate, --terminate and --redirect-to")
    tell(ask(ctx, commands[0]), json)


def _required(name: str | None) -> str:
    if name is None:
        raise typer.BadParameter("give --name NAME")
    return name
