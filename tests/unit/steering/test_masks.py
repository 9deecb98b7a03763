"""Steering by the kernel's masks, on devices of a network namespace that is not the one of /sys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path as FilePath

import pytest

from ikeclone.steering import Arrival, Choice, Path, Settings
from ikeclone_steering import journal, sysfs
from ikeclone_steering.masks import MaskChanged, as_mask
from ikeclone_steering.steering import KernelSteering
from tests.dataplane.netns import Namespace
from tests.unit.steering.test_card import crash

pytestmark = pytest.mark.root

ARRIVAL = Arrival(0x1000, 0, Path(ip_address("198.51.100.1"), ip_address("198.51.100.2")), False)
RPS, XPS = "queues/rx-{}/rps_cpus", "queues/tx-{}/xps_cpus"
ALL = sum(1 << cpu for cpu in range(os.cpu_count() or 1))


@pytest.fixture
def here(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> Iterator[Namespace]:
    """A namespace with a device of two queues each way."""
    monkeypatch.setattr(journal, "DIRECTORY", tmp_path)
    namespace = Namespace()
    two = ("numrxqueues", "2", "numtxqueues", "2")
    namespace.run("ip", "link", "add", "steered0", *two, "type", "veth", "peer", "name", "steered1")
    namespace.run("ip", "address", "add", "198.51.100.1/24", "dev", "steered0")
    for device in ("steered0", "steered1"):
        namespace.run("ip", "link", "set", device, "up")
    yield namespace
    namespace.close()


def masks(here: Namespace, file: str) -> list[int]:
    async def read() -> list[str]:
        return [sysfs.read("steered0", file.format(queue)) for queue in (0, 1)]

    return [int(text, 16) for text in here.call(read())]


def test_masks_are_set_while_there_are_clones_and_put_back(here: Namespace) -> None:
    steering = KernelSteering(Settings(Choice.RPS))
    here.call(steering.start())
    here.call(steering.steer(ARRIVAL))
    how = "RPS on steered0, by SPI or UDP ports to a CPU, always the same: 1 SPIs"
    assert steering.describe() == {"receive steering": how}
    assert masks(here, RPS) == [ALL, ALL]
    first, second = masks(here, XPS)
    assert (first | second, first & second) == (ALL, 0)
    here.call(steering.stop())
    assert masks(here, RPS) == masks(here, XPS) == [0, 0]


def test_masks_that_a_daemon_that_crashed_has_set_are_put_back_but_not_those_of_others(here: Namespace) -> None:
    async def write() -> None:
        sysfs.write("steered0", RPS.format(1), "1")

    here.call(write())
    crashed = KernelSteering(Settings(Choice.RPS))
    here.call(crashed.start())
    here.call(crashed.steer(ARRIVAL))
    here.call(crash(crashed))
    assert masks(here, RPS) == [ALL, 1]
    steering = KernelSteering(Settings(Choice.XDP))
    here.call(steering.start())
    assert masks(here, RPS) == [0, 1]
    here.call(steering.stop())


def test_a_note_that_was_cut_short_is_thrown_away(here: Namespace) -> None:
    async def leave() -> FilePath:
        book = journal.Journal()
        book.make(MaskChanged("steered0", RPS.format(0), "0", as_mask([0])))
        (note,) = journal.DIRECTORY.glob("*/*.json")
        (note.parent / "cut.json").write_text(note.read_text()[:-5])
        return note.parent

    notes = here.call(leave())
    steering = KernelSteering(Settings())
    here.call(steering.start())
    assert masks(here, RPS) == [0, 0]
    assert not notes.exists()
    here.call(steering.stop())


def test_a_mask_is_written_in_groups_of_32_bits() -> None:
    assert as_mask([0, 1]) == "00000003"
    assert as_mask([0, 33]) == "00000002,00000001"
