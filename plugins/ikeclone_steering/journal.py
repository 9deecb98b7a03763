"""What is changed in the system, noted before it is done: the next daemon undoes what a crash has left.

XDP programs bear our name, so they need no note; rules, hashes and masks look like anybody's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from ikeclone.steering import SteeringError

log = logging.getLogger(__name__)
DIRECTORY: Final = Path("/run/ikeclone")


@dataclass(frozen=True, slots=True)
class Change(ABC):
    """A change of one device. The fields of a subclass, numbers and strings, are what it takes to undo it."""

    KINDS: ClassVar[dict[str, type[Change]]] = {}

    device: str

    def __init_subclass__(cls) -> None:
        Change.KINDS[cls.__name__] = cls

    @abstractmethod
    def do(self) -> None:
        """Make it; raises OSError."""

    @abstractmethod
    def undo(self) -> None:
        """Put everything back that nobody else has changed since; raises OSError."""


class Journal:
    """A file for each change of this network namespace's devices. Methods raise SteeringError at a refusal."""

    def __init__(self) -> None:
        self._directory = DIRECTORY / f"steering-{os.stat('/proc/thread-self/ns/net').st_ino}"

    def make(self, change: Change) -> None:
        """Do it, so that it can be undone whatever happens to this process."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file(change).write_text(_text(change))
            change.do()
        except OSError as error:
            self._file(change).unlink(missing_ok=True)
            raise SteeringError(error.strerror or str(error)) from error

    def undo(self, change: Change) -> None:
        try:
            change.undo()
        except OSError as error:
            raise SteeringError(f"{change} stays on {change.device}: {error.strerror or error}") from error
        self._file(change).unlink(missing_ok=True)

    def undo_all(self) -> list[Change]:
        """Undo whatever is noted, as an end and a beginning want it; returns what was undone."""
        undone = []
        for change in self._noted():
            try:
                self.undo(change)
            except SteeringError as error:
                log.warning("%s", error)
            else:
                undone.append(change)
        with suppress(OSError):  # it is not there, or keeps what could not be undone
            self._directory.rmdir()
        return undone

    def _noted(self) -> Iterator[Change]:
        for file in sorted(self._directory.glob("*.json")):
            try:
                fields: dict[str, Any] = json.loads(file.read_text())
                yield Change.KINDS[fields.pop("kind")](**fields)
            except (ValueError, KeyError, TypeError):  # the crash was while it was written, so before anything was done
                file.unlink(missing_ok=True)

    def _file(self, change: Change) -> Path:
        return self._directory / f"{hashlib.sha256(_text(change).encode()).hexdigest()[:16]}.json"


def _text(change: Change) -> str:
    return json.dumps({"kind": type(change).__name__, **asdict(change)}, sort_keys=True)
