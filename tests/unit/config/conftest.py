from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ikeclone.config import ConfigErrors, load


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file, ipsec.conf unless named otherwise, and tell its path."""

    def write(text: str, name: str = "ipsec.conf") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def mistakes(write: Callable[..., Path]) -> Callable[[str], list[str]]:
    """What `load` says of a text, without the directory in front of file names."""

    def mistakes(text: str) -> list[str]:
        path = write(text)
        with pytest.raises(ConfigErrors) as caught:
            load(path)
        assert str(caught.value) == "\n".join(map(str, caught.value.errors))
        return [str(error).replace(f"{path.parent}/", "") for error in caught.value.errors]

    return mistakes
