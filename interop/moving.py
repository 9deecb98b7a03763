"""Ends that get other addresses under traffic, and what must be there afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from ikeclone.demo.daemons import DaemonProcess
from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.pings import RunningPing
from ikeclone.demo.tunnel import DEVICE
from ikeclone.demo.waiting import wait_until
from interop.lab import EAST, WEST, expect
from interop.strongswan import StrongSwan

ROAMED, MOVED = "192.1.2.46", "192.1.2.24"
BOUND = 10  # seconds from the change until pings are answered again


def settle(*hosts: Namespace) -> None:
    """See that a host keeps its second address when the first goes."""
    for host in hosts:
        host.sysctl("net.ipv4.conf.all.promote_secondaries", 1)


def move(host: Namespace, old: str, new: str) -> None:
    """Give a host another address in place of the one that it has."""
    host.ip(f"address add {new}/24 dev {DEVICE}")
    host.ip(f"address del {old}/24 dev {DEVICE}")


def move_both(
    hosts: tuple[Namespace, Namespace],
    ikeclone: DaemonProcess,
    strongswan: StrongSwan,
    pinging: Callable[[], AbstractContextManager[RunningPing]],
) -> None:
    """West, with ikeclone, gets another address, then east, with strongSwan: the IKE SA stays, and pings flow again."""
    settle(*hosts)
    before = {sa.serial for sa in ikeclone.ike_sas()}, set(strongswan.ike_sas())
    with pinging() as running:
        running.await_replies()
        move(hosts[0], WEST.address, ROAMED)
        _await_path(ikeclone, strongswan, ROAMED, EAST.address)
        running.await_replies(patience=BOUND)
        move(hosts[1], EAST.address, MOVED)
        _await_path(ikeclone, strongswan, ROAMED, MOVED)
        running.await_replies(patience=BOUND)
    expect("IKE SAs", ({sa.serial for sa in ikeclone.ike_sas()}, set(strongswan.ike_sas())), before)


def _await_path(ikeclone: DaemonProcess, strongswan: StrongSwan, west: str, east: str) -> None:
    """Wait until both sides have their IKE SA between these addresses; raises TimeoutError."""
    ours = f"{west}[4500]...{east}[4500]"
    wait_until(lambda: [sa.path for sa in ikeclone.ike_sas()] == [ours], BOUND, f"ikeclone's IKE SA: {ours}")
    wait_until(lambda: strongswan.paths() == [(east, west)], BOUND, f"strongSwan's IKE SA between {east} and {west}")
