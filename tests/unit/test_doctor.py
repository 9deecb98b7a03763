"""What the doctor finds out."""

from __future__ import annotations

import platform
from importlib.metadata import EntryPoint
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket

import pytest

from ikeclone import doctor, kernel_settings
from ikeclone.control.models import DoctorReport, Finding
from ikeclone.errors import BackendError
from ikeclone.memory import MemoryBackend
from tests.dataplane.netns import Namespace


class Refusing(MemoryBackend):
    """A data plane that does not work here."""

    async def probe(self) -> str:
        raise BackendError("no such luck")


class Willing(MemoryBackend):
    """One that does."""

    name = "esp"


def of(report: DoctorReport, subject: str) -> Finding:
    (finding,) = [finding for finding in report.findings if finding.subject == subject]
    return finding


def install(monkeypatch: pytest.MonkeyPatch, **classes: str) -> None:
    """Have these data planes and no steering."""
    found = [EntryPoint(name, f"{__name__}:{kind}", "ikeclone.backends") for name, kind in classes.items()]
    monkeypatch.setattr(doctor, "entry_points", lambda group: found if group == "ikeclone.backends" else [])


async def test_the_first_data_plane_that_works_is_what_auto_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, xfrm="Refusing", esp="Willing")
    report = await doctor.examine()
    assert (of(report, "data plane xfrm").verdict, of(report, "data plane xfrm").text) == ("note", "no such luck")
    assert of(report, "data plane esp").text == "works: carries no packets (auto takes it)"
    assert of(report, "receive steering").text == "no plugin for it is installed"


async def test_none_that_works_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, xfrm="Refusing")
    assert of(await doctor.examine(), "data plane").verdict == "bad"


async def test_the_daemon_says_which_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, xfrm="Willing", esp="Willing")
    report = await doctor.examine(Willing())
    assert of(report, "data plane esp").text.endswith("(in use)")
    assert of(report, "data plane xfrm").text == "works: carries no packets"


@pytest.mark.root
def test_settings_that_drop_packets_come_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, esp="Willing")
    namespace = Namespace()
    try:
        namespace.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
        namespace.run("sh", "-c", "echo 0 > /proc/sys/net/core/xfrm_larval_drop")
        namespace.run("sh", "-c", "echo 165 > /proc/sys/net/core/xfrm_acq_expires")
        report = namespace.call(doctor.examine())
    finally:
        namespace.close()
    for setting, advice in (("net.ipv4.conf.all.rp_filter", "2"), ("net.core.xfrm_larval_drop", "1")):
        assert (of(report, setting).verdict, of(report, setting).advice) == ("warning", f"sysctl {setting}={advice}")
    expires = of(report, "net.core.xfrm_acq_expires")
    assert (expires.verdict, expires.text[:4], expires.advice) == (
        "note",
        "165:",
        "sysctl net.core.xfrm_acq_expires=30",
    )


@pytest.mark.root
def test_ports_that_somebody_has_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def listening() -> tuple[DoctorReport, DoctorReport]:
        with socket(AF_INET, SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 4500))
            return await doctor.examine(), await doctor.examine(Willing())

    install(monkeypatch, esp="Willing")
    namespace = Namespace()
    try:
        namespace.run("ip", "link", "set", "lo", "up")
        alone, running = namespace.call(listening())
    finally:
        namespace.close()
    finding = of(alone, "UDP port 4500")
    assert (finding.verdict, finding.text) == ("warning", "in use: another IKE daemon is running")
    assert [each for each in alone.findings if each.subject == "UDP port 500"] == []
    assert [each for each in running.findings if each.subject.startswith("UDP port")] == []


async def test_modules_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    directory = tmp_path / platform.release()
    directory.mkdir()
    monkeypatch.setattr(kernel_settings, "_MODULES", tmp_path)
    monkeypatch.setattr(kernel_settings, "_LOADED", tmp_path)
    assert [finding for finding in kernel_settings.examine_kernel() if finding.subject.startswith("module")] == []
    (directory / "modules.builtin").write_text("kernel/net/xfrm/xfrm_user.ko\nkernel/drivers/net/tun.ko\n")
    (directory / "modules.dep").write_text(
        "kernel/net/ipv4/esp4.ko.xz: kernel/net/xfrm/xfrm_algo.ko.xz\nkernel/crypto/pcrypt.ko:\n"
    )
    found = {
        finding.subject: finding.text for finding in kernel_settings.examine_kernel() if "module" in finding.subject
    }
    assert found == {
        "module esp6": "missing: for IPsec over IPv6 by the kernel",
        "module xfrm_interface": "missing: for ipsec-interface=",
    }
