"""One command as a process: no shell, a time limit, its output bounded."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

MOST: Final = 16 << 10  # octets of output that are kept
_PIPE: Final = 64 << 10  # octets that the kernel keeps of it


async def execute(command: tuple[str, ...], environment: Mapping[str, str], limit: float) -> tuple[int | None, bytes]:
    """Run a command; its exit code, None if it was killed after `limit` seconds, and the beginning of its output.

    Raises OSError when it cannot be run. What it has started and left behind goes on, without anybody to read from it.
    """
    output = _Output()
    try:
        return await _execute(command, environment, limit, output), output.text()
    finally:
        output.close()


async def _execute(
    command: tuple[str, ...], environment: Mapping[str, str], limit: float, output: _Output
) -> int | None:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=DEVNULL, stdout=output.writer, stderr=STDOUT, start_new_session=True
    )
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
