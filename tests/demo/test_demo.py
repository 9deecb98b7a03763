"""The demonstration holds, Wireshark understands what it sends, and nothing of it stays, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ikeclone.demo.daemons import IKECLONE
from ikeclone.demo.waiting import wait_until
from interop.judge import judge

pytestmark = pytest.mark.root


class Demo:
    """A running demonstration whose processes and files can be told from all others."""

    def __init__(self, files: Path) -> None:
        self.files = files
        self._mark = f"IKECLONE_DEMO={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            [IKECLONE, "demo"],
            env={**os.environ, "TMPDIR": str(self.files), name: value},
            stdout=subprocess.PIPE,
            text=True,
        )

    def await_step(self, title: str) -> None:
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if line.startswith(title):
                return
        pytest.fail(f"the demonstration ended before it came to {title!r}:\n{''.join(seen)}")

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def processes(self) -> list[str]:
        """The command lines of its processes that are there, itself included."""
        marked = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (directory / "environ").read_bytes().split(b"\0"):
                    marked.append((directory / "cmdline").read_text().replace("\0", " "))
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                continue  # ended meanwhile, or nobody of ours
        return marked


@pytest.fixture
def demo() -> Iterator[Demo]:
    # Not tmp_path, which may be too long for a socket's name.
    with TemporaryDirectory() as files:
        yield Demo(Path(files))


def test_every_step_holds_and_wireshark_understands_it(tmp_path: Path) -> None:
    capture, logs = tmp_path / "demo.pcap", tmp_path / "logs"
    demo = subprocess.run(
        [IKECLONE, "demo", "--pcap", capture, "--keep-logs", logs],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout
    assert "every step held" in demo.stdout
    verdict = judge(capture, logs / "west" / "keys")
    assert verdict.ike_decrypted == verdict.ike - 2, "all but IKE_SA_INIT is encrypted"
    assert verdict.esp_decrypted == verdict.esp > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("title", ["two daemons", "a ping on each CPU", "ikeclone rekey"])
def test_an_interrupted_one_leaves_nothing(demo: Demo, title: str, number: int) -> None:
    demo.await_step(title)
    assert demo.processes()
    assert demo.end(number) == 128 + number
    # Whatever was just being started gets its signal when the demonstration is gone.
    wait_until(lambda: not demo.processes(), 30, "the end of all its processes")
    assert list(demo.files.iterdir()) == []


def test_a_killed_one_leaves_no_process(demo: Demo) -> None:
    demo.await_step("ikeclone rekey")
    assert len(demo.processes()) >= 5, "itself, two daemons, and a worker of each at least"
    assert demo.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not demo.processes(), 30, "the end of all its processes")
