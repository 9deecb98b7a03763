"""The backend alone: suites, modes, address families, moves, sequence numbers, streams without a clone, lost news."""

import subprocess
import sys
from pathlib import Path

from interop.kernel.lab import KernelLab

LIMIT = 360  # seconds
TESTS = Path(__file__).parent.parent / "test_backend.py"


def run(lab: KernelLab) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (lab.logs / "pytest.txt").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise AssertionError(done.stdout.strip().splitlines()[-1])
