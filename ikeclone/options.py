"""What the command line tells the daemon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """Files, the control socket, the name of the data plane ("auto" finds one), and what to log.

    `keylog` is a directory for the keys of every SA, as packet dissectors read them; None writes none.
    """

    config: Path
    secrets: Path
    socket: Path
    backend: str = "auto"
    keylog: Path | None = None
    log_level: str = "info"
