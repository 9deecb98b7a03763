"""The end of the log that says most of why a scenario failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

KEPT = "telling.txt"
LINES = 15
COMPLAINT = re.compile(r"error|warn|fail|refus|no answer|traceback|time ?out|giving up", re.IGNORECASE)


@contextmanager
def keeping(lab: Any, logs: Path) -> Iterator[None]:
    """If the block fails, keep in `logs` the end of what the daemons of a lab have said by then, before they end."""
    try:
        yield
    except BaseException:
        lab.collect()
        (logs / KEPT).write_text(most_telling(logs))
        raise


def told(logs: Path) -> str:
    """What was kept, or else what the logs say now."""
    kept = logs / KEPT
    return kept.read_text() if kept.exists() else most_telling(logs)


def most_telling(logs: Path) -> str:
    """The name and the last lines of the log below a directory that complains most in them; empty without any."""
    files = sorted(file for file in logs.rglob("*") if file.suffix in (".log", ".err") or file.name == "pytest.txt")
    ends = {file: file.read_text(errors="replace").splitlines()[-LINES:] for file in files}
    # ikeclone's, if none complains more.
    told = sorted((file for file in ends if ends[file]), key=lambda file: file.name != "ikeclone.log")
    if not told:
        return ""
    most = max(told, key=lambda file: sum(bool(COMPLAINT.search(line)) for line in ends[file]))
    return "\n".join((f"{most.relative_to(logs)} ends with:", *ends[most]))
