"""Run scenarios: `python -m interop [--out DIR] [NAME …]`. Exit code 1: one failed, 2: none can run.

Those in network namespaces run on this machine's kernel, beside them those named kernel/… in guests with kernel IPsec.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from textwrap import indent

from rich.console import Console
from rich.table import Table

from interop.kernel import guest
from interop.lab import BUILD, Lab, debian_root, private_mounts
from interop.runner import Outcome, Runner, forget, scenarios, table

PACKAGE = "interop.scenarios"


def main() -> int:
    known = scenarios(PACKAGE) + [f"kernel/{name}" for name in scenarios(guest.PACKAGE)]
    parser = argparse.ArgumentParser(prog="python -m interop", description="Scenarios with strongSwan and Libreswan.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(known)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("build/interop"), help="for logs and captures")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    names = arguments.names or known
    inside = [name.removeprefix("kernel/") for name in names if name.startswith("kernel/")]
    outside = [name for name in names if not name.startswith("kernel/")]
    if unable(BUILD, *([guest.BUILD] if inside else [])):
        return 2
    root, begin = debian_root(), time.monotonic()
    with guest.Guests(root, guest.OUT, inside) as guests:
        private_mounts(root)
        forget(arguments.out, outside)
        outcomes = Runner(PACKAGE, arguments.out, lambda logs: Lab(root, logs), Lab.judge).run(outside)
        outcomes += guests.outcomes()
    return report(outcomes, time.monotonic() - begin, guest.OUT)


def unable(*builders: Path) -> bool:
    """Say what this machine lacks to run scenarios, and make what can be made; whether it lacks anything."""
    if os.geteuid() != 0:
        sys.stderr.write("skipped: the scenarios need root, for a Debian root with the peers, a kernel and mounts\n")
        return True
    for builder in builders:
        if subprocess.run([builder], stdout=subprocess.DEVNULL, check=False).returncode:
            sys.stderr.write(f"skipped: no scenario can run, {builder} says above what is missing\n")
            return True
    return False


def report(outcomes: list[Outcome], elapsed: float, guests: Path) -> int:
    """Show the outcomes, the losses if they were measured below `guests`, and each failure; the exit code."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table(outcomes, elapsed))
    losses = guests / "loss" / "loss.json"
    if losses.exists() and any(outcome.title == "kernel/loss" for outcome in outcomes):
        console.print(loss_table(json.loads(losses.read_text())))
    failed = [outcome for outcome in outcomes if outcome.reason]
    for outcome in failed:
        # As it is: what others have written may look like markup.
        text = f"{outcome.title} failed: {outcome.reason}\n{indent(outcome.log, '    ')}\n"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return 1 if failed else 0


def loss_table(losses: dict[str, dict[str, int]]) -> Table:
    """How many pings each daemon lost until 600 were answered, by the delay of the cable in milliseconds."""
    view = Table("pings lost, 600 answered", *(f"{delay} ms each way" for delay in losses["ikeclone"]))
    for daemon, lost in losses.items():
        view.add_row(daemon, *map(str, lost.values()))
    return view


if __name__ == "__main__":
    sys.exit(main())
