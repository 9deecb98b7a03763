"""Any number of CPUs on either side, clones on demand or at once, over networks that lose messages."""

from __future__ import annotations

import os
from itertools import product

import pytest

from ikeclone.connection import ClonesMode
from ikeclone.ike.host import Settings
from tests.pair.groups import PATIENT, assert_each_cpu_is_served_once, traffic, traffic_until_quiet
from tests.pair.network import Network

# A peer that refused a clone is not asked again while we look.
FIRM = Settings(clone_backoff=1e6, clone_backoff_limit=1e6)
COUNTS = (1, 2, 3, 4, 8, 16, 64)
# IKECLONE_CAMPAIGN=10 tries ten times as many networks.
SEEDS = range(int(os.environ.get("IKECLONE_CAMPAIGN", "1")))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("mode", ClonesMode)
@pytest.mark.parametrize("cpus", tuple(product(COUNTS, COUNTS)), ids=lambda cpus: "{}x{}".format(*cpus))
def test_every_cpu_is_served_and_then_there_is_peace(
    cpus: tuple[int, int], mode: ClonesMode, loss: float, seed: int
) -> None:
    both = {"clones": None, "clones_mode": mode, "timing": PATIENT, "pfs": False}
    net = Network(cpus=cpus, west=both, east=both, seed=seed + 1, settings=FIRM).established()
    net.link.loss = loss
    traffic_until_quiet(net)
    net.link.loss = 0.0
    assert_each_cpu_is_served_once(net)
    messages = len(net.seen)
    for _ in range(20):
        traffic(net)
        net.run(0.5)
    assert len(net.seen) == messages
    assert net.lost_packets == [] or loss
    assert_each_cpu_is_served_once(net)
