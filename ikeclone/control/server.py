"""The daemon's side of the control socket."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import ValidationError

from ikeclone.control.models import COMMANDS, MAX_COMMAND, Command, Error, Message, Ok, Progress, Report
from ikeclone.errors import ControlError, LocalError

Handler = Callable[[Command, Callable[[str], None]], Awaitable[Report]]

_log = logging.getLogger(__name__)


class ControlServer:
    """Takes commands on a Unix socket that its owner alone can use, and has `handler` carry them out.

    The handler gets the command and a function that tells the client of progress. A LocalError from it is the
    client's answer; any other exception is logged, and the client told so. A client that leaves does not stop
    its command.
    """

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Open the socket, in place of one that a daemon left behind.

        Raises ControlError when a running daemon has it, or when it cannot be made.
        """
        listener = _listen(self._path)
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=MAX_COMMAND)

    async def close(self) -> None:
        """Take no more commands, drop those being carried out and remove the socket.

        The answer to a command whose handler has returned is out by then: it is written in the same step.
        """
        if self._server is None:
            return
        self._server.close()
        self._path.unlink(missing_ok=True)
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.current_task()
        assert client is not None
        self._clients.add(client)
        try:
            await self._serve(reader, writer)
        except ConnectionError:
            _log.debug("a client of the control socket left early")
        except asyncio.CancelledError:
            # Only close() cancels, and asyncio's streams (Python 3.11) log a cancelled callback as a failure.
            _log.debug("a client of the control socket is left without an answer")
        finally:
            self._clients.discard(client)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(message: Message) -> None:
            if not writer.is_closing():
                writer.write(message.line())

        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                send(Error(message=f"a command is a line of at most {MAX_COMMAND} bytes"))
                return
            send(await self._answer(line, lambda text: send(Progress(text=text))))
            await writer.drain()

    async def _answer(self, line: bytes, progress: Callable[[str], None]) -> Ok | Error:
        try:
            command = COMMANDS.validate_json(line)
        except ValidationError:
            return Error(message="the daemon knows no such command: is it of another version than ikeclone?")
        try:
            return Ok(report=await self._handler(command, progress))
        except LocalError as error:
            return Error(message=str(error))
        except Exception:
            _log.exception("command %s failed", command.command)
            return Error(message="internal error: see the daemon's log")


def _listen(path: Path) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        raise ControlError(f"cannot make the control socket {path}: {_hint(path, error)}") from error
    finally:
        os.umask(mask)
    listener.setblocking(False)
    return listener


def _hint(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"make its directory first (mkdir {path.parent}), or choose another with --socket"
    return f"{error.strerror or error}; choose another place with --socket"


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody answers on."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # bind will say what is wrong, if anything is
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path} is not a socket: remove it, or choose another with --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        except OSError as error:
            raise ControlError(f"cannot use the control socket {path}: {error.strerror or error}") from error
        else:
            raise ControlError(f"the control socket {path} is already in use by a running daemon")
