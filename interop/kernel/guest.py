"""Guests with kernel IPsec: boots them for some scenarios, and says what became of these."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from interop.kernel.lab import KernelLab
from interop.lab import private_mounts
from interop.runner import Outcome, Runner, forget, recorded

PACKAGE = "interop.kernel.scenarios"
OUT = Path("build/interop-kernel")
HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
CHECKOUT = HERE.parent.parent
GUESTS = 2
LIMIT = 1800  # seconds for all of them


class Guests:
    """Guests that run scenarios side by side, each the next that none has begun. A context manager.

    The peers are those of a Debian root; `out` is a directory in the checkout.
    """

    def __init__(self, root: Path, out: Path, names: list[str]) -> None:
        self._out, self._names = out, names
        command = ["env", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}", sys.executable, "-m", "interop.kernel"]
        command += ["--guest", str(root), "--out", str(out), *names]
        vm = ["setpriv", "--pdeathsig", "TERM", str(HERE / "vm")]  # it ends with us
        self._command = [*vm, "--timeout", str(LIMIT), "--directory", str(CHECKOUT), *command]

    def __enter__(self) -> Guests:
        forget(self._out, self._names)
        self._processes = [
            subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, errors="replace")
            for _ in self._names[:GUESTS]
        ]
        self._pool = ThreadPoolExecutor(GUESTS)
        self._ends: list[Future[int]] = [self._pool.submit(_show, process) for process in self._processes]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        self._pool.shutdown()

    def outcomes(self) -> list[Outcome]:
        """Wait for the end of all scenarios; what became of them, in their order."""
        codes = [end.result() for end in self._ends]
        otherwise = f"not run: the guests ended before it, vm's exit codes are {codes}"
        return recorded(PACKAGE, self._out, self._names, otherwise)


def _show(process: subprocess.Popen[str]) -> int:
    """Show what a guest says, in whole lines because others speak too; its exit code."""
    assert process.stdout is not None
    for line in process.stdout:
        sys.stdout.write(line.rstrip() + "\n")
        sys.stdout.flush()
    return process.wait()


def inside(root: Path, out: Path, names: list[str]) -> int:
    """Run scenarios, within a guest; the exit code."""
    private_mounts(root)
    outcomes = Runner(PACKAGE, out, lambda logs: KernelLab(root, logs)).run(names)
    return 1 if any(outcome.reason for outcome in outcomes) else 0
