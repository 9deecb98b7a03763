"""What works on this machine, what does not and why: for `ikeclone doctor`. Nothing is changed for good."""

from __future__ import annotations

import errno
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
from ikeclone.ike.nat import PORT as NAT_PORT
from ikeclone.kernel_settings import examine_kernel
from ikeclone.net import IKE_PORT
from ikeclone.steering import GROUP as STEERING
from ikeclone.steering import Settings, Steering

_CAPABILITIES: Final = {
    12: ("CAP_NET_ADMIN", "for IPsec, routes and devices"),
    13: ("CAP_NET_RAW", "for ESP without UDP in user space"),
    10: ("CAP_NET_BIND_SERVICE", "for UDP port 500"),
}
_UDP_ENCAP, _ESP_IN_UDP = 100, 2


async def examine(running: Backend | None = None) -> DoctorReport:
    """Try everything out; `running` is the data plane of the daemon that asks."""
    ports = [] if running is not None else _ports()  # the daemon that asks has them
    findings = [*_machine(), *_capabilities(), *ports, *await _data_planes(running), _udp_encapsulation()]
    findings += examine_kernel()
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


def _ports() -> Iterator[Finding]:
    """Whether somebody else has a port of IKE, on any address."""
    for port in (IKE_PORT, NAT_PORT):
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                with socket.socket(family, socket.SOCK_DGRAM) as sock:
                    sock.bind(("", port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    text = "in use: another IKE daemon is running"
                    yield _finding(f"UDP port {port}", "warning", text, f"ss -lunp sport = :{port} says which: stop it")
                    break


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


async def _devices() -> list[Finding]:
    """How received packets find their CPU on each device."""
    for entry in entry_points(group=STEERING):
        steering: Steering = entry.load()(Settings())
        try:
            survey = await steering.survey()
        except BackendError as error:
            return [_finding("receive steering", "note", f"none: {error}")]
        return [
            _finding(
                f"device {each.device}", "good" if each.works else "note", f"receive steering: {each.text}", each.advice
            )
            for each in survey
        ]
    return [_finding("receive steering", "note", "no plugin for it is installed")]
