"""Run scenarios: `python -m interop [--out DIR] [NAME …]`. Exit code 1: one failed, 2: none can run."""

from __future__ import annotations

import argparse
import os
import pkgutil
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ikeclone.demo.daemons import failure
from interop import scenarios
from interop.lab import Lab, debian_root, private_mounts


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scenario; `reason` is empty when it passed."""

    name: str
    reason: str
    seconds: float


def main() -> int:
    known = sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__))
    parser = argparse.ArgumentParser(prog="python -m interop", description="Scenarios with strongSwan.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(known)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("build/interop"), help="for logs and captures")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    console = Console(width=None if sys.stdout.isatty() else 140)
    if os.geteuid() != 0:
        console.print("skipped: the scenarios need root, for a Debian root with strongSwan and its mounts")
        return 2
    root = debian_root()
    private_mounts(root)
    outcomes = [run(name, root, arguments.out / name, console) for name in arguments.names or known]
    console.print(table(outcomes))
    failed = sum(bool(outcome.reason) for outcome in outcomes)
    console.print(f"{len(outcomes) - failed} passed, {failed} failed; logs and captures in {arguments.out}")
    return 1 if failed else 0


def run(name: str, root: Path, logs: Path, console: Console) -> Outcome:
    """Run one scenario in a lab of its own, and let tshark judge what went over the cable."""
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    module = import_module(f"interop.scenarios.{name}")
    begin = time.monotonic()
    try:
        with Lab(root, logs.resolve()) as lab:
            module.run(lab)
            lab.judge()
        reason = ""
    except Exception as error:  # whatever it is, the next scenario runs
        reason = failure(error)
        (logs / "failure.txt").write_text(f"{reason}\n\n{traceback.format_exc()}")
    outcome = Outcome(name, reason, time.monotonic() - begin)
    console.print(f"{name}: {'failed: ' + reason if reason else 'passed'} ({outcome.seconds:.1f} s)", markup=False)
    return outcome


def table(outcomes: list[Outcome]) -> Table:
    """A line for each scenario: its name, what it shows, the result, the time."""
    view = Table("scenario", "shows", "result", "s")
    for outcome in outcomes:
        shows = (import_module(f"interop.scenarios.{outcome.name}").__doc__ or "").strip().splitlines()[0]
        result = "[red]failed" if outcome.reason else "[green]passed"
        view.add_row(outcome.name, shows, result, f"{outcome.seconds:.1f}")
    return view


if __name__ == "__main__":
    sys.exit(main())
