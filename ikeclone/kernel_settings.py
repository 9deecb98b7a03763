"""What of the running kernel gets in the way of tunnels: its settings and its modules. For `ikeclone doctor`."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ikeclone.control.models import Finding, Verdict

_SYSCTLS: Final = Path("/proc/sys")
_STRICT: Final = "1"  # net.ipv4.conf.*.rp_filter (RFC 3704)
_ACQUIRE_LIFETIME: Final = 30  # seconds, the kernel's own default of net.core.xfrm_acq_expires
_MODULES: Final = Path("/lib/modules")
_LOADED: Final = Path("/sys/module")
_WANTED: Final = {
    "esp4": "IPsec over IPv4 by the kernel",
    "esp6": "IPsec over IPv6 by the kernel",
    "xfrm_user": "the data plane xfrm",
    "xfrm_interface": "ipsec-interface=",
    "pcrypt": "parallel-crypto=",
    "tun": "the data plane esp",
}


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting that is `wrong` for tunnels, and why; `right` is what it should be."""

    name: str
    wrong: Callable[[str], bool]
    verdict: Verdict
    why: str
    right: str


_SETTINGS: Final = (
    _Setting("net.ipv4.ip_forward", "0".__eq__, "note", "only this host itself is in a tunnel", "1"),
    _Setting(
        "net.core.xfrm_larval_drop", "0".__eq__, "warning", "queued packets ask for the clone of a wrong CPU", "1"
    ),
    _Setting(
        "net.core.xfrm_acq_expires",
        lambda text: text.isdigit() and int(text) > _ACQUIRE_LIFETIME,
        "note",
        "for so many seconds a packet that found no SA, and got none, keeps others from asking again",
        str(_ACQUIRE_LIFETIME),
    ),
)


def examine_kernel() -> Iterator[Finding]:
    """Whatever should be otherwise, with what to do about it."""
    for path in sorted((_SYSCTLS / "net/ipv4/conf").iterdir()):
        if path.name not in ("default", "lo") and _read(path / "rp_filter") == _STRICT:
            name = f"net.ipv4.conf.{path.name}.rp_filter"
            yield _finding(name, "warning", "1: drops decrypted packets whose way back is by another device", "2")
    for setting in _SETTINGS:
        text = _read(_SYSCTLS / setting.name.replace(".", "/"))
        if text and setting.wrong(text):
            yield _finding(setting.name, setting.verdict, f"{text}: {setting.why}", setting.right)
    yield from _missing_modules(_MODULES / platform.release())


def _finding(name: str, verdict: Verdict, text: str, right: str) -> Finding:
    return Finding(subject=name, verdict=verdict, text=text, advice=f"sysctl {name}={right}")


def _missing_modules(directory: Path) -> Iterator[Finding]:
    """Modules that this kernel neither has built in nor can load. Without a list of what it can, nothing is said."""
    lists = [_read(directory / name) for name in ("modules.builtin", "modules.dep")]
    if not any(lists):
        return
    there = {name.replace("-", "_") for text in lists for name in re.findall(r"([\w-]+)\.ko[.\w]*(?::|$)", text, re.M)}
    for name, purpose in _WANTED.items():
        if name not in there and not (_LOADED / name).exists():
            advice = f"install all modules of Linux {platform.release()}"
            yield Finding(subject=f"module {name}", verdict="note", text=f"missing: for {purpose}", advice=advice)


def _read(path: Path) -> str:
    """The content of a small file, or nothing where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
