"""`ikeclone demo`: the steps in order, and the way out of each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from ikeclone.demo.daemons import failure
from ikeclone.demo.report import DoesNotHoldError, Steps
from ikeclone.demo.steps import ALL
from ikeclone.demo.tunnel import tunnel
from ikeclone.errors import ControlError

UNSHARE = ("unshare", "--user", "--map-root-user", "--net")
TUN = "/dev/net/tun"
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FAILURES = (DoesNotHoldError, ControlError, RuntimeError, OSError, subprocess.SubprocessError)


def main(*, pcap: Path | None = None, logs: Path | None = None) -> int:
    """Run the demonstration and print its table.

    `pcap` is a file for a capture, `logs` a directory to leave the daemons' files in. Returns the exit code:
    0 if every step held, 1 if not, 128 and the number of the signal that ended it.
    """
    if os.geteuid() != 0:
        _enter_user_namespace()
        return 1
    for number in ENDING:
        signal.signal(number, _leave)
    # A file or a pipe gets lines as long as the table wants them.
    console, steps = Console(width=None if sys.stdout.isatty() else 140), Steps()
    try:
        held = _run(steps, console, pcap, logs)
    except SystemExit as end:
        console.print("interrupted: everything is taken down")
        return int(end.code or 0)
    finally:
        console.print(steps.table())
    console.print(steps.summary())
    return 0 if held else 1


def _run(steps: Steps, console: Console, pcap: Path | None, logs: Path | None) -> bool:
    """Whether every step held."""
    with tunnel(pcap, logs) as pair:
        try:
            for title, act in ALL:
                console.print(f"{title} …", style="dim", highlight=False)
                with steps.step(title) as step:
                    act(pair, step)
                if step.output:
                    console.print(step.output, markup=False, highlight=False, soft_wrap=True)
        except FAILURES as error:
            console.print(f"[red]{title}:[/] ", failure(error), markup=False)
            for daemon in (pair.west, pair.east):
                console.print(f"{daemon.namespace.name}'s log:\n{daemon.last_words()}", markup=False, highlight=False)
            return False
        finally:
            # What is taken down now is taken down to the end.
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN)
    return True


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _enter_user_namespace() -> None:
    """Start over in a user namespace, where this user is root; returns only if that is of no use here."""
    console = Console(stderr=True)
    if subprocess.run([*UNSHARE, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        console.print("skipped: it needs root, or a system that lets its users have user namespaces")
        return
    if not os.access(TUN, os.R_OK | os.W_OK):
        console.print(f"skipped: it needs root, or a system that lets its users open {TUN}")
        return
    console.print("not root: all of it runs in a user namespace")
    os.execvp(UNSHARE[0], [*UNSHARE, *sys.orig_argv])  # noqa: S606  there is no shell in it
