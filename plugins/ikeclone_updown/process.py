"""One command as a process: no shell, a time limit, its output bounded and logged."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

log = logging.getLogger(__name__)

LIMIT: Final = 10.0  # seconds for one run
MOST: Final = 16 << 10  # octets of output that are kept
_PIPE: Final = 64 << 10  # octets that the kernel keeps of it


async def run(title: str, command: tuple[str, ...], environment: Mapping[str, str], text: bytes = b"") -> None:
    """Run a command that reads this text; what it says and that it fails goes to the log, under the title."""
    try:
        code, output = await execute(command, environment, LIMIT, text)
    except OSError as error:
        log.warning("%s: %s cannot be run: %s", title, command[0], error.strerror)
        return
    for line in output.decode(errors="backslashreplace").splitlines():
        log.info("%s: %s", title, "".join(each if each.isprintable() else "?" for each in line))
    if code is None:
        log.warning("%s: %s was stopped: it takes more than %g seconds", title, command[0], LIMIT)
    elif code:
        log.warning("%s: %s ended with exit code %d", title, command[0], code)


async def execute(
    command: tuple[str, ...], environment: Mapping[str, str], limit: float, text: bytes = b""
) -> tuple[int | None, bytes]:
    """Run a command; its exit code, None if it was killed after `limit` seconds, and the beginning of its output.

    Raises OSError when it cannot be run. What it has started and left behind goes on, without anybody to read from it.
    """
    output = _Output()
    try:
        return await _execute(command, environment, limit, text, output), output.text()
    finally:
        output.close()


async def _execute(
    command: tuple[str, ...], environment: Mapping[str, str], limit: float, text: bytes, output: _Output
) -> int | None:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=PIPE if text else DEVNULL,
        stdout=output.writer,
        stderr=STDOUT,
        start_new_session=True,
    )
    if process.stdin is not None:
        process.stdin.write(text)
        process.stdin.close()
    try:
        async with asyncio.timeout(limit):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())


class _Output:
    """A pipe that is read while the process runs, by whoever else has its other end as well."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._read)

    def text(self) -> bytes:
        """What there is of it by now."""
        self._read()
        return bytes(self._kept)

    def close(self) -> None:
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
        os.close(self.writer)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            data = os.read(self._reader, _PIPE)
            self._kept += data[: MOST - len(self._kept)]
