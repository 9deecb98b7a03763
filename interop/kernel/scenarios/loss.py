"""600 pings on two CPUs that have no clone yet, at 0, 5 and 50 ms each way: what ikeclone loses, and strongSwan."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from interop.kernel.lab import KernelLab, PinnedPing, clones, up
from interop.kernel.states import sending
from interop.kernel.steps import expect_no_states
from interop.lab import EAST, WEST, expect

DELAYS = (0, 5, 50)
COUNT = 300  # a CPU
SENDERS = (1, 2)


def run(lab: KernelLab) -> None:
    lost = {"strongSwan": _strongswan(lab), "ikeclone": _ikeclone(lab)}
    (lab.logs / "loss.json").write_text(json.dumps(lost, indent=2))
    expect("pings that ikeclone lost", lost["ikeclone"], dict.fromkeys(DELAYS, 0))


def _ikeclone(lab: KernelLab) -> dict[int, int]:
    east, west = lab.ikeclone(EAST, {"clones": "yes"}), lab.ikeclone(settings={"clones": "yes"})

    def begin() -> None:
        up(west)
        expect("clones before", clones(west), [])

    lost = _measure(lab, begin, lambda: west.command("down", "gw"))
    expect("exit codes", [west.stop(), east.stop()], [0, 0])
    return lost


def _strongswan(lab: KernelLab) -> dict[int, int]:
    peers = [lab.strongswan(end, per_cpu_sas="yes", start_action="trap") for end in (EAST, WEST)]

    def begin() -> None:
        lab.ping(0, patience=1)  # it is lost: its acquire brings up the fallback
        lab.wait(lambda: all(peer.children() for peer in peers), "the fallback")

    lost = _measure(lab, begin, peers[0].terminate_ike)
    for peer in peers:
        peer.end()
    return lost


def _measure(lab: KernelLab, begin: Callable[[], object], end: Callable[[], object]) -> dict[int, int]:
    """How many pings are lost while the clones are made, by delay; `begin` and `end` make a tunnel and end it."""
    lost = {}
    for delay in DELAYS:
        lab.delay(delay)
        begin()
        with ThreadPoolExecutor(len(SENDERS)) as pool:
            lost[delay] = sum(pool.map(lambda cpu: _lost(lab, cpu), SENDERS))
        lab.wait(lambda: set(sending(lab.west)) >= set(SENDERS), "CPUs that send on a clone of theirs")
        end()
        expect_no_states(lab)
    return lost


def _lost(lab: KernelLab, cpu: int) -> int:
    """How many pings on a CPU are lost before so many are answered."""
    with PinnedPing(lab.west, cpu, 0.01) as running:
        running.await_replies(COUNT, 60)
    return len(running.lost)
