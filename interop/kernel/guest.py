"""The guest with kernel IPsec: boots it for some scenarios, and says what became of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from interop.kernel.lab import KernelLab
from interop.lab import private_mounts
from interop.runner import OUTCOMES, Outcome, Runner, recorded

PACKAGE = "interop.kernel.scenarios"
OUT = Path("build/interop-kernel")
HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
CHECKOUT = HERE.parent.parent
LIMIT = 1200  # seconds for all of them


def run(root: Path, out: Path, names: list[str]) -> list[Outcome]:
    """Boot the guest and run scenarios in it, with the peers of a Debian root; `out` is a directory in the checkout."""
    (out / OUTCOMES).unlink(missing_ok=True)
    command = ["env", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}", sys.executable, "-m", "interop.kernel"]
    command += ["--guest", str(root), "--out", str(out), *names]
    vm = [str(HERE / "vm"), "--timeout", str(LIMIT), "--directory", str(CHECKOUT)]
    status = subprocess.run([*vm, *command], check=False).returncode
    return recorded(PACKAGE, out, names, f"not run: the guest ended before it, vm's exit code is {status}")


def inside(root: Path, out: Path, names: list[str]) -> int:
    """Run scenarios, within the guest; the exit code."""
    private_mounts(root)
    outcomes = Runner(PACKAGE, out, lambda logs: KernelLab(root, logs)).run(names)
    return 1 if any(outcome.reason for outcome in outcomes) else 0
