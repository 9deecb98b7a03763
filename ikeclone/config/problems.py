"""Mistakes in configuration files: where they are, and how several are gathered to be told at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ikeclone.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    file: Path
    line: int

    def error(self, reason: str) -> ConfigError:
        """The error to raise for a mistake at this place."""
        return ConfigError(reason, str(self.file), self.line)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class ConfigErrors(ConfigError):
    """Every mistake that was found, one a line; `errors` has them one by one."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))


class Problems:
    """Gathers mistakes while reading goes on; the same mistake reached in several ways counts once."""

    def __init__(self) -> None:
        self._errors: dict[str, ConfigError] = {}

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Keep the mistake that ends the block, and go on after it."""
        try:
            yield
        except ConfigErrors as several:
            self.add(*several.errors)
        except ConfigError as error:
            self.add(error)

    def add(self, *errors: ConfigError) -> None:
        """Keep these mistakes."""
        self._errors |= {str(error): error for error in errors}

    def check(self) -> None:
        """Raise ConfigErrors, sorted by file and line, if there were mistakes."""
        if self._errors:
            raise ConfigErrors(sorted(self._errors.values(), key=lambda error: (error.file, error.line)))
