"""The files of this network namespace's devices. What is mounted on /sys may be another namespace's."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on every architecture
_CLOEXEC, _CREATE = 1, 6
_SYS: Final = Path("/sys")


def read(device: str, file: str) -> str:
    """The content of `file`, a path below the device's directory; raises OSError."""
    with _open(device, file, os.O_RDONLY) as fd:
        return os.read(fd, 4096).decode().strip()


def write(device: str, file: str, text: str) -> None:
    """Raises OSError."""
    with _open(device, file, os.O_WRONLY) as fd:
        os.write(fd, text.encode())


def entries(device: str, directory: str) -> list[str]:
    """The names in a directory below the device's, sorted; raises OSError."""
    with _open(device, directory, os.O_RDONLY | os.O_DIRECTORY) as fd:
        return sorted(os.listdir(fd))


@contextmanager
def _open(device: str, path: str, flags: int) -> Iterator[int]:
    with _root() as root:
        fd = os.open(f"class/net/{device}/{path}", flags, dir_fd=root)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _root() -> Iterator[int]:
    """A sysfs of our namespace that is mounted nowhere; or /sys where we may not have that, as in a container."""
    try:
        fd = _mounted()
    except PermissionError:
        fd = os.open(_SYS, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def _mounted() -> int:
    context = _call(_FSOPEN, b"sysfs", _CLOEXEC)
    try:
        _call(_FSCONFIG, context, _CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def _call(number: int, *arguments: int | bytes | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(number, *arguments)
    if result < 0:
        code = errno.EPERM if ctypes.get_errno() == errno.ENOSYS else ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
