"""600 pings on two CPUs that have no clone yet, at 0, 5 and 50 ms each way: what ikeclone loses, and strongSwan."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from interop.kernel.lab import KernelLab, clones, up
from interop.kernel.states import states
from interop.kernel.strongswan import KernelStrongSwan
from interop.lab import EAST, WEST, expect

DELAYS = (0, 5, 50)
COUNT = 300  # a CPU
SENDERS = (1, 2)
RECEIVED = re.compile(r"(\d+) received")


def run(lab: KernelLab) -> None:
    lost = {
        "strongSwan": {delay: _measure(lab, delay, _strongswan) for delay in DELAYS},
        "ikeclone": {delay: _measure(lab, delay, _ikeclone) for delay in DELAYS},
    }
    (lab.logs / "loss.json").write_text(json.dumps(lost, indent=2))
    expect("pings that ikeclone lost", lost["ikeclone"], dict.fromkeys(DELAYS, 0))


def _measure(lab: KernelLab, delay: int, start: Callable[[KernelLab], Callable[[], None]]) -> int:
    """How many of the pings are lost while the clones are made."""
    lab.delay(delay)
    stop = start(lab)
    with ThreadPoolExecutor(len(SENDERS)) as pool:
        lost = sum(pool.map(lambda cpu: COUNT - _ping(lab, cpu), SENDERS))
    sending = {state.cpu for state in states(lab.west) if state.sends}
    expect("CPUs that send on a clone of theirs", sending >= set(SENDERS), True)
    stop()
    lab.wait(lambda: not states(lab.west) and not states(lab.east), "kernels without states")
    return lost


def _ping(lab: KernelLab, cpu: int) -> int:
    command = ["ping", "-n", "-q", "-c", str(COUNT), "-i", "0.01", "-W", "3", "-I", WEST.inner, EAST.inner]
    found = RECEIVED.search(lab.west.run(*command, cpus=(cpu,), check=False, timeout=60))
    assert found is not None
    return int(found[1])


def _ikeclone(lab: KernelLab) -> Callable[[], None]:
    daemons = [lab.ikeclone(EAST, {"clones": "yes"}), lab.ikeclone(settings={"clones": "yes"})]
    up(daemons[1])
    expect("clones before", clones(daemons[1]), [])

    def stop() -> None:
        for daemon in daemons:
            daemon.stop()

    return stop


def _strongswan(lab: KernelLab) -> Callable[[], None]:
    peers: list[KernelStrongSwan] = [
        lab.strongswan(end, per_cpu_sas="yes", start_action="trap") for end in (EAST, WEST)
    ]
    lab.ping(0)  # it is lost: its acquire brings up the fallback
    lab.wait(lambda: all(peer.children() for peer in peers), "the fallback")

    def stop() -> None:
        for peer in peers:
            peer.process.terminate()
            peer.process.wait(10)

    return stop
