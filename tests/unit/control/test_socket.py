"""The control socket, server and client, over a real Unix socket."""

from __future__ import annotations

import asyncio
import logging
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ikeclone.control.client import call
from ikeclone.control.models import (
    MAX_COMMAND,
    REPLIES,
    Command,
    Done,
    Down,
    Error,
    Ok,
    Reply,
    Report,
    Status,
    Stop,
    TrafficReport,
    TrafficStatus,
    Up,
)
from ikeclone.control.server import ControlServer
from ikeclone.errors import ControlError

Progress = Callable[[str], None]


async def answer(command: Command, progress: Progress) -> Report:
    """A daemon in small: `up` tells its steps, `down` fails, `status` is a bug."""
    match command:
        case Up(name=name):
            progress(f"initiating {name}")
            await asyncio.sleep(0)
            progress("established")
            return Done(text="up")
        case Down(name=name):
            raise ControlError(f"no connection is named {name}")
        case TrafficStatus():
            return TrafficReport(rows=[])
        case _:
            raise ZeroDivisionError("a secret detail")


@asynccontextmanager
async def served(
    path: Path, handler: Callable[[Command, Progress], Awaitable[Report]] = answer
) -> AsyncIterator[ControlServer]:
    server = ControlServer(path, handler)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ctl"


async def ask(path: Path, command: Command, progress: Progress = lambda text: None) -> Report:
    return await asyncio.to_thread(call, path, command, progress)


async def exchange(path: Path, *lines: bytes) -> list[Reply]:
    """Send raw lines, say that this was all, and read what comes."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.writelines(lines)
    writer.write_eof()
    replies = [REPLIES.validate_json(line) async for line in reader]
    writer.close()
    await writer.wait_closed()
    return replies


async def test_progress_comes_before_the_outcome(path: Path) -> None:
    told: list[str] = []
    async with served(path):
        assert await ask(path, Up(name="west"), told.append) == Done(text="up")
    assert told == ["initiating west", "established"]


async def test_a_failed_command(path: Path) -> None:
    async with served(path):
        with pytest.raises(ControlError, match=r"^no connection is named west$"):
            await ask(path, Down(name="west"))


async def test_a_bug_is_logged_and_not_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(path):
        with pytest.raises(ControlError, match=r"^internal error: see the daemon's log$"):
            await ask(path, Status())
        assert await ask(path, TrafficStatus()) == TrafficReport(rows=[])
    assert "command status failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_several_commands_on_one_connection(path: Path) -> None:
    async with served(path):
        replies = await exchange(path, TrafficStatus().line(), Down(name="x").line(), TrafficStatus().line())
    assert [type(reply) for reply in replies] == [Ok, Error, Ok]


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"[]\n", b'{"command": "fly"}\n', b'{"command": "up"}\n', b"\xff\n"])
async def test_what_is_no_command(path: Path, line: bytes) -> None:
    async with served(path):
        refused, served_after = await exchange(path, line, TrafficStatus().line())
    assert refused == Error(message="the daemon knows no such command: is it of another version than ikeclone?")
    assert isinstance(served_after, Ok)


async def test_a_command_has_a_bounded_length(path: Path) -> None:
    async with served(path):
        replies = await exchange(path, Up(name="x" * MAX_COMMAND).line())
    assert replies == [Error(message="a command is a line of at most 65536 bytes")]


async def test_half_a_command_is_none(path: Path) -> None:
    async with served(path):
        assert await exchange(path, b'{"command":') == []


async def test_a_client_that_leaves_disturbs_nobody(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begun, gone, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(command: Command, progress: Progress) -> Report:
        if isinstance(command, Up):
            begun.set()
            await gone.wait()
            progress("are you there?")
            finished.set()
        return Done()

    async with served(path, slow):
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(Up(name="west").line())
        await begun.wait()
        writer.transport.abort()
        gone.set()
        await finished.wait()
        assert await ask(path, Down(name="west")) == Done()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_closing_ends_commands_under_way(path: Path) -> None:
    begun = asyncio.Event()

    async def endless(command: Command, progress: Progress) -> Report:
        begun.set()
        await asyncio.Event().wait()
        return Done()

    async with served(path, endless):
        asked = asyncio.ensure_future(ask(path, Up(name="west")))
        await begun.wait()
    with pytest.raises(ControlError, match="the daemon ended before it answered: see its log"):
        await asked
    with pytest.raises(ControlError, match="no daemon answers"):
        await ask(path, Status())


async def test_stop_is_answered_although_the_server_closes(path: Path) -> None:
    stopped = asyncio.Event()

    async def stop(command: Command, progress: Progress) -> Report:
        stopped.set()
        return Done(text="ended")

    async with served(path, stop):
        asked = asyncio.ensure_future(ask(path, Stop()))
        await stopped.wait()
    assert await asked == Done(text="ended")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_socket_is_its_owners(path: Path) -> None:
    async with served(path):
        assert mode(path) == 0o600


async def test_a_second_daemon_is_refused_and_the_first_goes_on(path: Path) -> None:
    async with served(path):
        with pytest.raises(ControlError, match="is already in use by a running daemon"):
            await ControlServer(path, answer).start()
        assert await ask(path, TrafficStatus()) == TrafficReport(rows=[])


async def test_a_stale_socket_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as former:
        former.bind(str(path))
    async with served(path):
        assert await ask(path, TrafficStatus()) == TrafficReport(rows=[])


def start(path: Path) -> None:
    asyncio.run(ControlServer(path, answer).start())


def test_a_file_is_not_replaced(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ControlError, match="is not a socket: remove it, or choose another with --socket"):
        start(path)
    assert path.read_text() == "precious"


def test_places_for_no_socket(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"make its directory first \(mkdir .*/run\), or choose another"):
        start(tmp_path / "run" / "ctl")
    with pytest.raises(ControlError, match=r"cannot make the control socket .*choose another place"):
        start(tmp_path / ("x" * 200))


async def test_no_daemon(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"no daemon answers at .*/ctl: start one with 'ikeclone daemon'"):
        await ask(path, Status())
    with socket.socket(socket.AF_UNIX) as former:
        former.bind(str(path))
    with pytest.raises(ControlError, match="no daemon answers at"):
        await ask(path, Status())
    with pytest.raises(ControlError, match="cannot use the control socket"):
        await ask(tmp_path / ("x" * 200), Status())


def test_a_socket_of_somebody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sock: socket.socket, address: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(ControlError, match=r"not allowed to use .*: run this as the daemon's user \(root, with sudo\)"):
        call(path, Status(), lambda text: None)


async def test_a_daemon_that_hangs_up(path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with await asyncio.start_unix_server(hang_up, str(path)):
        with pytest.raises(ControlError, match=r"lost the daemon: .*; see its log|ended before it answered"):
            await ask(path, Status())


async def test_a_daemon_that_talks_nonsense(path: Path) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"000 hello\n")
        writer.close()

    async with await asyncio.start_unix_server(nonsense, str(path)):
        with pytest.raises(ControlError, match="the daemon's answer makes no sense"):
            await ask(path, Status())


def test_a_socket_of_another_kind_is_left_alone(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(ControlError, match=f"cannot use the control socket {path}: Protocol wrong type for socket"):
            start(path)
    assert path.exists()


async def test_a_server_that_was_not_started_has_nothing_to_close(path: Path) -> None:
    """The daemon ends before it listens, as when another one has the socket."""
    async with served(path):
        second = ControlServer(path, answer)
        with pytest.raises(ControlError, match="already in use by a running daemon"):
            await second.start()
        await second.close()
        assert await ask(path, TrafficStatus()) == TrafficReport(rows=[])
