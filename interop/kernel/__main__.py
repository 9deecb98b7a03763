"""Run the kernel's scenarios in the guest: `python -m interop.kernel [--out DIR] [NAME …]`.

Exit code 1: one failed, 2: none can run.
"""

from __future__ import annotations

import argparse
import os
import pkgutil
import shutil
import subprocess
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ikeclone.demo.daemons import failure
from interop.kernel import scenarios
from interop.kernel.lab import KernelLab
from interop.lab import debian_root, private_mounts

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent


def main() -> int:
    known = sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__))
    parser = argparse.ArgumentParser(prog="python -m interop.kernel", description="Scenarios with kernel IPsec.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(known)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("build/interop-kernel"), help="for logs, in the checkout")
    parser.add_argument("--guest", type=Path, metavar="ROOT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    names = arguments.names or known
    if arguments.guest:
        return inside(arguments.guest, arguments.out, names)
    if os.geteuid() != 0:
        Console().print("skipped: the scenarios need root, for a Debian root with strongSwan and a kernel")
        return 2
    guest = ["env", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}", sys.executable, "-m", "interop.kernel"]
    guest += ["--guest", str(debian_root()), "--out", str(arguments.out), *names]
    return subprocess.run([HERE / "vm", "--directory", CHECKOUT, *guest], check=False).returncode


def inside(root: Path, out: Path, names: list[str]) -> int:
    """Run scenarios in the guest, each in a lab of its own; the exit code."""
    private_mounts(root)
    table, failed = Table("scenario", "shows", "result", "s"), 0
    console = Console(width=140)
    for name in names:
        module = import_module(f"interop.kernel.scenarios.{name}")
        begin = time.monotonic()
        reason = run(module.run, root, out / name)
        seconds = time.monotonic() - begin
        console.print(
            f"{name}: {'failed: ' + reason if reason else 'passed'} ({seconds:.1f} s)", markup=False, highlight=False
        )
        failed += bool(reason)
        shows = (module.__doc__ or "").strip().splitlines()[0]
        table.add_row(name, shows, "[red]failed" if reason else "[green]passed", f"{seconds:.1f}")
    console.print(table)
    return 1 if failed else 0


def run(scenario: object, root: Path, logs: Path) -> str:
    """Run one scenario; why it failed, or nothing."""
    assert callable(scenario)
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    try:
        with KernelLab(root, logs.resolve()) as lab:
            scenario(lab)
    except Exception as error:  # whatever it is, the next scenario runs
        (logs / "failure.txt").write_text(traceback.format_exc())
        return failure(error)
    return ""


if __name__ == "__main__":
    sys.exit(main())
