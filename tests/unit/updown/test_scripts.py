"""Commands that are run: what they say, how they end, what becomes of those that do not."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ikeclone.updown import Verb
from ikeclone_updown import process, scripts
from ikeclone_updown.process import MOST, execute
from tests.unit.updown.test_environment import change

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PLUTO_VERB": "up-client"}


async def run(script: str, limit: float = 20.0) -> tuple[int | None, bytes]:
    return await execute(("sh", "-c", script), ENVIRONMENT, limit)


async def test_output_and_exit_code() -> None:
    assert await run("echo $PLUTO_VERB; echo wrong >&2; exit 3") == (3, b"up-client\nwrong\n")


async def test_the_environment_is_this_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the daemon")
    _, output = await execute(("env",), ENVIRONMENT, 20.0)
    assert set(output.decode().splitlines()) == {f"{name}={value}" for name, value in ENVIRONMENT.items()}


async def test_what_it_is_given_to_read() -> None:
    assert await execute(("cat",), ENVIRONMENT, 20.0, b"of a\nfew lines") == (0, b"of a\nfew lines")
    assert await execute(("true",), ENVIRONMENT, 20.0, b"nobody reads") == (0, b"")
    assert await execute(("cat",), ENVIRONMENT, 20.0) == (0, b"")


async def test_no_shell_reads_the_arguments() -> None:
    assert await execute(("echo", "$HOME", "; reboot"), ENVIRONMENT, 20.0) == (0, b"$HOME ; reboot\n")


async def test_one_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    left = tmp_path / "left"
    begin = time.monotonic()
    code, output = await run(f"echo begun; (sleep 3; touch {left}) & sleep 60", 0.5)
    assert (code, output) == (None, b"begun\n")
    assert time.monotonic() - begin < 30
    assert not left.exists()


async def test_one_that_leaves_a_process_behind_has_ended() -> None:
    """What is left behind has the other end of the pipe still."""
    begin = time.monotonic()
    assert await run("sleep 30 & echo done") == (0, b"done\n")
    assert time.monotonic() - begin < 20


async def test_of_much_output_the_beginning_is_kept() -> None:
    code, output = await run("head -c 1000000 /dev/zero | tr '\\0' x")
    assert (code, output) == (0, b"x" * MOST)


async def test_a_change_is_told_in_the_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LIMIT", 0.5)
    runner = scripts.Scripts()
    with caplog.at_level(logging.INFO):
        for command in (
            ("sh", "-c", 'echo "$PLUTO_CONNECTION\t$PLUTO_VERB"'),
            ("false",),
            ("/no/such/command",),
            ("sleep", "60"),
        ):
            await runner.run(replace(change(Verb.ROUTE if command[0] == "sh" else Verb.UP), command=command))
    assert [
        (record.levelname, record.getMessage()) for record in caplog.records if record.name == process.__name__
    ] == [
        ("INFO", "westnet-eastnet: prepare-client: gw?prepare-client"),
        ("INFO", "westnet-eastnet: route-client: gw?route-client"),
        ("WARNING", "westnet-eastnet: up-client: false ended with exit code 1"),
        ("WARNING", "westnet-eastnet: up-client: /no/such/command cannot be run: No such file or directory"),
        ("WARNING", "westnet-eastnet: up-client: sleep was stopped: it takes more than 0.5 seconds"),
    ]
