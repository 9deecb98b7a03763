"""The commands that need no running daemon. What they run is imported only when they do."""

from __future__ import annotations

import asyncio
import json as jsonlib
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ikeclone.cli.app import answers, ask, tell
from ikeclone.control.models import Doctor, DoctorReport
from ikeclone.errors import ConfigError
from ikeclone.options import DaemonOptions

CONFIG = Path("/etc/ipsec.conf")
SECRETS = Path("/etc/ipsec.secrets")


class BackendName(StrEnum):
    """The data planes to choose from."""

    AUTO = "auto"
    XFRM = "xfrm"
    ESP = "esp"
    MEMORY = "memory"


class LogLevel(StrEnum):
    """How much goes to the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def daemon(
    ctx: typer.Context,
    config: Annotated[Path, typer.Option(metavar="FILE", help="Connections.")] = CONFIG,
    secrets: Annotated[Path, typer.Option(metavar="FILE", help="Keys.")] = SECRETS,
    socket: Annotated[Path | None, typer.Option(metavar="PATH", help="The control socket to make.")] = None,
    backend: Annotated[BackendName, typer.Option(help="The data plane.")] = BackendName.AUTO,
    keylog: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the keys of every SA there, for packet dissectors."),
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="How much to log.")] = LogLevel.INFO,
) -> None:
    """Run the daemon in the foreground; it logs to stderr."""
    from ikeclone.daemon import run

    options = DaemonOptions(
        config=config,
        secrets=secrets,
        socket=socket or ctx.obj,
        backend=backend.value,
        keylog=keylog,
        log_level=log_level.value,
    )
    raise typer.Exit(run(options))


def doctor(
    ctx: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False
) -> None:
    """Say what works on this machine, what does not, and why.

    The exit code is 1 if no data plane works.
    """
    report = ask(ctx, Doctor()) if answers(ctx) else _examined()
    assert isinstance(report, DoctorReport)
    tell(report, json)
    if any(finding.verdict == "bad" for finding in report.findings):
        raise typer.Exit(1)


def _examined() -> DoctorReport:
    """Without a daemon this process looks for itself."""
    from ikeclone.doctor import examine

    return asyncio.run(examine())


def demo(
    pcap: Annotated[Path | None, typer.Option(metavar="FILE", help="Capture the packets there.")] = None,
    keep_logs: Annotated[Path | None, typer.Option(metavar="DIR", help="Leave the logs of the daemons there.")] = None,
) -> None:
    """Show a tunnel between two daemons in network namespaces."""
    from ikeclone.demo.run import main

    raise typer.Exit(main(pcap=pcap, logs=keep_logs))


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An ipsec.conf.")],
    secrets: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check too that every connection has its key there.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Name each mistake in a configuration by file and line."""
    connections, errors = _checked(file, secrets)
    if json:
        mistakes = [{"file": error.file, "line": error.line, "reason": error.reason} for error in errors]
        typer.echo(jsonlib.dumps({"connections": connections, "errors": mistakes}, indent=2))
    else:
        for error in errors:
            typer.echo(str(error), err=True)
        if not errors:
            typer.echo(f"{file}: no mistakes, connections: {', '.join(connections) or 'none'}")
    if errors:
        raise typer.Exit(1)


def _checked(file: Path, secrets: Path | None) -> tuple[list[str], tuple[ConfigError, ...]]:
    """The names of the connections, and the mistakes."""
    from ikeclone.config import ConfigErrors, load, load_credentials

    try:
        config = load(file)
        if secrets is not None:
            load_credentials(config, secrets, datetime.now(UTC))
    except ConfigErrors as several:
        return [], several.errors
    return [conn.name for conn in config.connections], ()
