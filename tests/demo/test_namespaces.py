"""What is started in a namespace ends with whoever started it, however early that one ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

STARTER = """
from ikeclone.demo.namespaces import Namespace
with Namespace("west") as west:
    west.start("echo", "outlived", stdout=None).wait()
"""


def test_a_command_does_not_run_whose_starter_was_killed_while_it_started(tmp_path: Path) -> None:
    gate, setpriv = tmp_path / "gate", tmp_path / "setpriv"
    os.mkfifo(gate)
    # The real one, but not before the gate is opened.
    wait = f'case "$*" in *outlived*) echo at the gate; read _ < {gate} ;; esac'
    setpriv.write_text(f'#!/bin/sh\n{wait}\nexec {shutil.which("setpriv")} "$@"\n')
    setpriv.chmod(0o755)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == "at the gate\n"
    starter.kill()
    starter.wait()
    gate.write_text("go on\n")
    # The output ends when the last process that could write to it has ended.
    output, _ = starter.communicate(timeout=30)
    assert output == ""
