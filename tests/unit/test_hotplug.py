"""The data planes follow CPUs that are unplugged and plugged in again."""

from __future__ import annotations

from pathlib import Path

import pytest

from ikeclone import backend
from ikeclone_esp import EspBackend
from ikeclone_xfrm import XfrmBackend


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's list of online CPUs, to be written by the test."""
    path = tmp_path / "online"
    path.write_text("0-3,8\n")
    monkeypatch.setattr(backend, "_ONLINE", path)
    return path


def test_the_kernel_has_every_cpu_that_is_online(online: Path) -> None:
    plane = XfrmBackend()
    assert plane.cpus() == {0, 1, 2, 3, 8}
    online.write_text("0,2-4\n")
    assert plane.cpus() == {0, 2, 3, 4}


def test_esp_has_those_that_had_a_worker_from_the_start(online: Path) -> None:
    plane = EspBackend()
    online.write_text("0,2-4\n")
    assert plane.cpus() == {0, 2, 3}
    online.write_text("0-8\n")
    assert plane.cpus() == {0, 1, 2, 3, 8}
