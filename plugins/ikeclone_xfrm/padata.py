"""Which CPUs do the work of the kernel's parallel ciphers: the masks of padata."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ikeclone.backend import BackendError

_ROOT: Final = Path("/sys/kernel/pcrypt")
_WAYS: Final = ("pencrypt", "pdecrypt")
_WORD: Final = 32  # bits between two commas of a mask


class Masks:
    """Those of both ways: `parallel_cpumask` are the CPUs that encrypt or decrypt, `serial_cpumask` those that put
    packets back into order and hand them on. Methods raise BackendError.
    """

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self._former: dict[Path, str] = {}

    def set(self, parallel: frozenset[int], online: frozenset[int]) -> None:
        """Have these CPUs do the work, and the other ones the rest, if there are any."""
        wanted = {"parallel_cpumask": parallel, "serial_cpumask": online - parallel or online}
        for way in _WAYS:
            for name, cpus in wanted.items():
                path = self._root / way / name
                self._former.setdefault(path, _read(path))
                _write(path, mask(cpus))

    def restore(self) -> None:
        """Put back what was there before `set`."""
        former, self._former = self._former, {}
        for path, text in former.items():
            _write(path, text)

    def reset(self, online: frozenset[int]) -> None:
        """Have all CPUs do everything, as when nobody has said anything."""
        self.set(online, online)
        self._former.clear()


def mask(cpus: frozenset[int]) -> str:
    """The mask of some CPUs as the kernel writes it: words of 32 bits in hexadecimal digits, the highest first."""
    bits = sum(1 << cpu for cpu in cpus)
    words: list[str] = []
    while bits or not words:
        words.append(f"{bits & 0xFFFFFFFF:08x}")
        bits >>= _WORD
    return ",".join(reversed(words))


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise BackendError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise BackendError(f"{path} does not take {text}: {error.strerror}") from error
