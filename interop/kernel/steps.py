"""What several of the kernel's scenarios do."""

from __future__ import annotations

from collections.abc import Callable

from ikeclone.control.models import TrafficReport, TrafficStatus
from ikeclone.demo.daemons import DaemonProcess
from interop.kernel.lab import KernelLab
from interop.kernel.states import states

PATIENCE = 30.0  # seconds


def child_serials(daemon: DaemonProcess) -> set[int]:
    """The numbers of its Child SAs, of which several may have one name."""
    report = daemon.call(TrafficStatus())
    assert isinstance(report, TrafficReport)
    return {row.serial for row in report.rows}


def ike_serials(daemon: DaemonProcess) -> set[int]:
    """The numbers of its IKE SAs."""
    return {sa.serial for sa in daemon.ike_sas()}


def renew_children(
    lab: KernelLab, daemon: DaemonProcess, rekey: Callable[[], object], patience: float = PATIENCE
) -> None:
    """Call `rekey` and wait until as many other Child SAs are in the place of all that there were."""
    _renew(lab, lambda: child_serials(daemon), rekey, "Child SAs", patience)


def renew_ike(lab: KernelLab, daemon: DaemonProcess, rekey: Callable[[], object], patience: float = PATIENCE) -> None:
    """Call `rekey` and wait until another IKE SA is in the place of the one that there was."""
    _renew(lab, lambda: ike_serials(daemon), rekey, "IKE SAs", patience)


def expect_no_states(lab: KernelLab) -> None:
    """Wait until neither kernel has a state; raises TimeoutError."""
    lab.wait(lambda: not states(lab.west) and not states(lab.east), "kernels without states")


def _renew(
    lab: KernelLab, serials: Callable[[], set[int]], rekey: Callable[[], object], what: str, patience: float
) -> None:
    before = serials()
    rekey()
    lab.wait(lambda: len(serials()) == len(before) and not before & serials(), f"other {what} than {before}", patience)
