"""The command line's side of the control socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from ikeclone.control.models import MAX_REPLY, REPLIES, Command, Error, Ok, Progress, Report
from ikeclone.errors import ControlError


def call(path: Path, command: Command, on_progress: Callable[[str], None]) -> Report:
    """Have the daemon carry out a command and wait for the outcome, however long it takes.

    Raises ControlError, with what to do about it, when the daemon is not there or the command fails.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _connect(sock, path)
        try:
            sock.sendall(command.line())
            with sock.makefile("rb") as stream:
                return _outcome(stream, on_progress)
        except OSError as error:
            raise ControlError(f"lost the daemon: {error.strerror}; see its log") from error


def _connect(sock: socket.socket, path: Path) -> None:
    try:
        sock.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(
            f"no daemon answers at {path}: start one with 'ikeclone daemon', or name its socket with --socket"
        ) from None
    except PermissionError:
        raise ControlError(f"not allowed to use {path}: run this as the daemon's user (root, with sudo)") from None
    except OSError as error:
        raise ControlError(f"cannot use the control socket {path}: {error.strerror or error}") from None


def _outcome(stream: BinaryIO, on_progress: Callable[[str], None]) -> Report:
    while line := stream.readline(MAX_REPLY):
        try:
            reply = REPLIES.validate_json(line)
        except ValidationError:
            raise ControlError("the daemon's answer makes no sense: is it of another version than ikeclone?") from None
        match reply:
            case Progress(text=text):
                on_progress(text)
            case Ok(report=report):
                return report
            case Error(message=message):
                raise ControlError(message)
    raise ControlError("the daemon ended before it answered: see its log")
