"""What works on this machine, what does not and why: for `ikeclone doctor`. Nothing is changed for good."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from ikeclone import backends
from ikeclone.backend import Backend
from ikeclone.control.models import DoctorReport, Finding, Verdict
from ikeclone.errors import BackendError
from ikeclone.steering import GROUP as STEERING
from ikeclone.steering import Settings, Steering

_CAPABILITIES: Final = {
    12: ("CAP_NET_ADMIN", "for IPsec, routes and devices"),
    13: ("CAP_NET_RAW", "for ESP without UDP in user space"),
    10: ("CAP_NET_BIND_SERVICE", "for UDP port 500"),
}
_STRICT: Final = "1"  # net.ipv4.conf.*.rp_filter (RFC 3704)
_UDP_ENCAP, _ESP_IN_UDP = 100, 2


async def examine(running: Backend | None = None) -> DoctorReport:
    """Try everything out; `running` is the data plane of the daemon that asks."""
    findings = [*_machine(), *_capabilities(), *await _data_planes(running), _udp_encapsulation(), *_settings()]
    return DoctorReport(findings=[*findings, *await _devices()])


def _finding(subject: str, verdict: Verdict, text: str, advice: str = "") -> Finding:
    return Finding(subject=subject, verdict=verdict, text=text, advice=advice)


def _machine() -> Iterator[Finding]:
    yield _finding("kernel", "good", f"{platform.system()} {platform.release()} {platform.machine()}")
    cpus = len(os.sched_getaffinity(0))
    text = f"{cpus} for this process, {os.cpu_count()} online"
    if cpus > 1:
        yield _finding("CPUs", "good", text, f"clones=yes has up to {os.cpu_count()} clones of each connection")
    else:
        yield _finding("CPUs", "note", text, "clones make nothing faster here: clones=no")


def _capabilities() -> Iterator[Finding]:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    effective = int(status["CapEff"], 16)
    for bit, (name, purpose) in _CAPABILITIES.items():
        if not effective >> bit & 1:
            yield _finding(name, "warning", f"missing: {purpose}", "run this as root")


async def _data_planes(running: Backend | None) -> list[Finding]:
    """Those that `auto` tries; the first that works is the one that it takes."""
    found = {entry.name: entry for entry in entry_points(group=backends.GROUP)}
    findings, taken = [], running.name if running is not None else None
    for name in (name for name in backends.PREFERENCE if name in found):
        text, works = await _data_plane(found[name])
        taken = taken or (name if works else None)
        mark = "in use" if running is not None and running.name == name else "auto takes it" if name == taken else ""
        findings.append(
            _finding(f"data plane {name}", "good" if works else "note", f"{text} ({mark})" if mark else text)
        )
    if taken is None:
        findings.append(_finding("data plane", "bad", "none works here", "see the reasons above"))
    return findings


async def _data_plane(entry: EntryPoint) -> tuple[str, bool]:
    backend: Backend = entry.load()()
    try:
        return f"works: {await backend.probe()}", True
    except BackendError as error:
        return str(error), False


def _udp_encapsulation() -> Finding:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_UDP, _UDP_ENCAP, _ESP_IN_UDP)
        except OSError as error:
            text = f"not by the kernel ({error.strerror}): --backend xfrm has no tunnels through NAT"
            return _finding("ESP in UDP", "note", text)
    return _finding("ESP in UDP", "good", "taken by the kernel")


def _settings() -> Iterator[Finding]:
    """Settings of the kernel that get in the way of tunnels."""
    for path in sorted(Path("/proc/sys/net/ipv4/conf").iterdir()):
        if path.name not in ("default", "lo") and _read(path / "rp_filter") == _STRICT:
            name = f"net.ipv4.conf.{path.name}.rp_filter"
            text = "1: drops decrypted packets whose way back is by another device"
            yield _finding(name, "warning", text, f"sysctl {name}=2")
    if _read(Path("/proc/sys/net/ipv4/ip_forward")) == "0":
        name = "net.ipv4.ip_forward"
        yield _finding(name, "note", "0: only this host itself is in a tunnel", f"a gateway needs sysctl {name}=1")
    if _read(Path("/proc/sys/net/core/xfrm_larval_drop")) == "0":
        name = "net.core.xfrm_larval_drop"
        text = "0: queued packets ask for the clone of a wrong CPU"
        yield _finding(name, "warning", text, f"sysctl {name}=1")


async def _devices() -> list[Finding]:
    """How received packets find their CPU on each device."""
    for entry in entry_points(group=STEERING):
        steering: Steering = entry.load()(Settings())
        try:
            survey = await steering.survey()
        except BackendError as error:
            return [_finding("receive steering", "note", f"none: {error}")]
        return [_device(name, text) for name, text in survey.items()]
    return [_finding("receive steering", "note", "no plugin for it is installed")]


def _device(name: str, steering: str) -> Finding:
    verdict: Verdict = "note" if steering.startswith("none") else "good"
    return _finding(f"device {name}", verdict, f"receive steering: {steering}")


def _read(path: Path) -> str:
    """The content of a small file, or nothing where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
