"""The CPUs of a guest, and fewer of them for a daemon."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

CPUS = (0, 1, 2, 3)
_ONLINE = Path("sys/devices/system/cpu/online")
_MOUNT = 'list=$(mktemp -p /run) && echo "$0" >"$list" && mount --bind "$list" "$1" && shift && exec "$@"'


def seeing(cpus: Collection[int], root: Path = Path("/")) -> list[str]:
    """The words before a command that let it find only these CPUs online; `root` is where it has its /sys."""
    if set(cpus) == set(CPUS):
        return []
    listed = ",".join(map(str, cpus))
    return ["unshare", "--mount", "sh", "-ec", _MOUNT, listed, str(root / _ONLINE)]
