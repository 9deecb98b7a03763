"""Reading configuration files, and what their `include` lines name."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import realpath
from pathlib import Path

from ikeclone.config.problems import Place
from ikeclone.errors import ConfigError

MAX_SIZE = 1 << 20
MAX_DEPTH = 10

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, with the files that led to it by `include`, the outermost first."""

    path: Path
    parents: tuple[Path, ...] = ()

    def lines(self) -> Iterator[tuple[Place, str]]:
        """The lines without their line ends. Raises ConfigError when this is no readable text."""
        for number, line in enumerate(self._text().split("\n"), start=1):
            place = Place(self.path, number)
            if _CONTROL.search(line := line.removesuffix("\r")):
                raise place.error("there is a control character in this line")
            yield place, line

    def include(self, pattern: str, place: Place) -> list[Source]:
        """The files that a pattern names, relative to this one. Raises ConfigError on loops and the like."""
        if not pattern:
            raise place.error("include needs a file name or a pattern")
        parents = (*self.parents, self.path)
        found = sorted(glob.glob(str(self.path.parent / pattern)))
        if not found and glob.has_magic(pattern):
            _log.warning("%s: no file matches include %s", place, pattern)
        elif not found:
            raise place.error(f"include {pattern}: there is no such file")
        if len(parents) > MAX_DEPTH:
            raise place.error(f"includes are nested more than {MAX_DEPTH} deep")
        for path in found:
            if realpath(path) in map(realpath, parents):
                raise place.error(f"include {pattern}: {path} includes itself")
        return [Source(Path(path), parents) for path in found]

    def _text(self) -> str:
        try:
            with self.path.open("rb") as stream:
                data = stream.read(MAX_SIZE + 1)
        except OSError as error:
            raise ConfigError(f"cannot read {self.path}: {error.strerror}") from error
        if len(data) > MAX_SIZE:
            raise ConfigError(f"cannot read {self.path}: it is larger than {MAX_SIZE} bytes")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Place(self.path, data.count(b"\n", 0, error.start) + 1).error("this is not UTF-8 text") from None
