"""`ikeclone`: the commands that talk to a running daemon, and the way in for all others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ikeclone import __version__
from ikeclone.cli import local, whack
from ikeclone.cli.app import Group, address, ask, tell
from ikeclone.control import models

NAME = Annotated[str, typer.Argument(metavar="NAME", help="The connection, as `conn NAME` names it.")]
JSON = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]

app = typer.Typer(
    cls=Group,
    name="ikeclone",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ikeclone {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    socket: Annotated[
        Path, typer.Option(envvar="IKECLONE_SOCKET", metavar="PATH", help="The daemon's control socket.")
    ] = Path("/run/ikeclone/ikeclone.ctl"),
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """IKEv2 with one Child SA per CPU (RFC 9611)."""
    ctx.obj = socket


@app.command()
def up(
    ctx: typer.Context,
    name: NAME,
    ike: Annotated[bool, typer.Option("--ike", help="Only its IKE SA, without a Child SA.")] = False,
) -> None:
    """Bring a connection up, and say how it goes."""
    tell(ask(ctx, models.Up(name=name, ike=ike)))


@app.command()
def down(ctx: typer.Context, name: NAME) -> None:
    """Delete every SA of a connection; it stays loaded."""
    tell(ask(ctx, models.Down(name=name)))


@app.command()
def rekey(
    ctx: typer.Context,
    name: NAME,
    ike: Annotated[bool, typer.Option("--ike", help="Rekey the IKE SA, not the Child SAs.")] = False,
    reauth: Annotated[
        bool, typer.Option("--reauth", help="Replace the IKE SA by one that is authenticated anew.")
    ] = False,
) -> None:
    """Rekey the Child SAs of a connection, or its IKE SA.

    Clones are rekeyed on their CPUs. With --reauth both sides prove who they are anew.
    """
    tell(ask(ctx, models.Rekey(name=name, ike=ike, reauth=reauth)))


@app.command()
def redirect(
    ctx: typer.Context,
    name: NAME,
    redirect_to: Annotated[str, typer.Option(metavar="ADDRESS", help="Where they go.")],
) -> None:
    """Send the peers of a connection to another gateway."""
    tell(ask(ctx, models.Redirect(name=name, to=address(redirect_to))))


@app.command()
def status(ctx: typer.Context, json: JSON = False) -> None:
    """Show the daemon, its connections and their SAs."""
    tell(ask(ctx, models.Status()), json)


@app.command()
def trafficstatus(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Only this connection.")] = None,
    json: JSON = False,
) -> None:
    """Show what each Child SA carried, as `ipsec whack` does."""
    tell(ask(ctx, models.TrafficStatus(name=name)), json)


@app.command()
def clones(ctx: typer.Context, name: NAME, json: JSON = False) -> None:
    """Show which CPU has which clone of a connection."""
    tell(ask(ctx, models.Clones(name=name)), json)


@app.command()
def reload(ctx: typer.Context) -> None:
    """Read ipsec.conf and ipsec.secrets again.

    With a mistake in them nothing changes. Connections that are as before stay as they are, with
    their SAs; others are taken down, and new and changed ones come up as their auto= says.
    SIGHUP does the same. What config setup says is for the next start.
    """
    tell(ask(ctx, models.Reload()))


@app.command()
def stop(ctx: typer.Context) -> None:
    """Take every connection down and end the daemon."""
    tell(ask(ctx, models.Stop()))


app.command()(local.daemon)
app.command()(local.check)
app.command()(local.doctor)
app.command()(local.demo)
app.command()(whack.auto)
app.command()(whack.whack)


def run() -> None:
    """The console script."""
    app()
