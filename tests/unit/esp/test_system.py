"""Refusals of the system, and arithmetic about the link."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
from typing import Any

import pytest

import ikeclone_esp
from ikeclone.backend import BackendError
from ikeclone_esp import routes, sockets, tun
from ikeclone_esp.backend import EspBackend
from ikeclone_esp.handover import PLAINTEXT, Handover, Tag


@pytest.mark.parametrize(("number", "advice"), [
    (errno.ENOENT, "modprobe tun"), (errno.EPERM, "run as root"), (errno.EMFILE, "Too many open files"),
])  # fmt: skip
def test_no_tun_says_what_to_do(monkeypatch: pytest.MonkeyPatch, number: int, advice: str) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(BackendError, match=advice):
        tun.Tun([0, 1])


@pytest.mark.parametrize(
    ("outer", "version", "mtu"), [(1500, 4, 1404), (1500, 6, 1388), (9000, 4, 8908), (1280, 6, 1280)]
)
def test_tunnel_mtu(outer: int, version: int, mtu: int) -> None:
    assert routes.tunnel_mtu(outer, version) == mtu


def test_segments_of_a_super_packet_leave_in_one_send() -> None:
    for mtu in range(1280, 65000, 8):
        count = routes.segments(mtu)
        assert 1 <= count <= 64
        assert count * (mtu + 5 + 32) <= 65507 or count == 1


def test_a_full_handover_loses_nothing() -> None:
    write, read = sockets.handover()
    with select.epoll() as poll, write, read:
        handover = Handover(poll)
        handover.connect(5, write)
        sent = 0
        while not handover.blocked:
            handover.pass_on(5, Tag(PLAINTEXT, 1, 1), b"%05d" % sent + bytes(60000))
            sent += 1
        assert sent > 64
        received = list[int]()
        while len(received) < sent:
            received.append(int(Tag.split(read.recv(1 << 17))[1][:5]))
            for fd, _ in poll.poll(0):
                worker = handover.worker_of(fd)
                assert worker == 5
                handover.on_writable(worker)
        assert received == list(range(sent))
        assert not handover.blocked


def test_a_worker_starts_without_what_only_the_daemon_needs() -> None:
    code = "import sys, ikeclone_esp.worker; print({'asyncio', 'ikeclone_esp.backend'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True).stdout == b"set()\n"


def test_the_backend_is_there_when_asked_for_and_nothing_else() -> None:
    assert ikeclone_esp.EspBackend is EspBackend
    with pytest.raises(AttributeError):
        ikeclone_esp.no_such_thing  # noqa: B018
