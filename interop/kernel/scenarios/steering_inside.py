"""Flows of a host, sent on one CPU, leave its gateway on the clones of all CPUs; killed daemons leave nothing."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ikeclone.demo.namespaces import Namespace
from interop.kernel.lab import CPUS, KernelLab, up
from interop.kernel.scenarios.forwarding import HOSTS, behind
from interop.kernel.scenarios.steering import masks
from interop.kernel.states import states
from interop.lab import EAST, WEST, expect

CLONES = {"clones": "yes"}
INSIDE = "eth2"
CPU = 0  # where the host sends
FLOWS, PACKETS = 64, 4
STEER, SPREAD = "ikeclone_steer", "ikeclone_inside"  # programs
SEND = f"""\
import socket
for number in range({FLOWS}):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("{HOSTS[WEST.name]}", 20000 + number))
        for _ in range({PACKETS}):
            sock.sendto(bytes(500), ("{HOSTS[EAST.name]}", 9))
"""


def run(lab: KernelLab) -> None:
    with networks(lab) as host:
        east = lab.ikeclone(EAST, CLONES, "steering=rps")
        west = lab.ikeclone(settings=CLONES)
        up(west)
        expect("CPUs that send without it", _senders(lab, host), {CPU})
        expect("exit code", west.stop(), 0)
        west = lab.ikeclone(settings=CLONES, setup=f"steering-inside={INSIDE}")
        up(west)
        expect("CPUs that send", _senders(lab, host), set(CPUS))
        told = west.status().data_plane["transmit steering"]
        expect("what status says", told, f"XDP (native) on {INSIDE}, by addresses and ports over {len(CPUS)} CPUs")
        west.process.kill()
        west.process.wait()
        expect("what a killed daemon leaves", (_program(lab, "eth1"), _program(lab, INSIDE)), (STEER, SPREAD))
        west = lab.ikeclone(settings=CLONES)
        expect("what the next one leaves of it", (_program(lab, "eth1"), _program(lab, INSIDE)), (None, None))
        expect("whether east has a mask", masks(lab) > 0, True)
        east.process.kill()
        east.process.wait()
        expect("whether a killed daemon leaves it", masks(lab) > 0, True)
        east = lab.ikeclone(EAST)
        expect("what the next one leaves of it", masks(lab), 0)
        expect("exit codes", [west.stop(), east.stop()], [0, 0])


@contextmanager
def networks(lab: KernelLab) -> Iterator[Namespace]:
    """A host behind each gateway; west's."""
    with ExitStack() as stack:
        sunset, sunrise = (stack.enter_context(Namespace(name)) for name in ("sunset", "sunrise"))
        behind(lab.west, WEST, sunset)
        behind(lab.east, EAST, sunrise)
        yield sunset


def _senders(lab: KernelLab, host: Namespace) -> set[int]:
    """The CPUs whose clones send once no packet needs the fallback any more."""
    carried: Counter[int] = Counter()

    def nothing_on_the_fallback() -> bool:
        before = _sent(lab)
        host.run(sys.executable, "-c", SEND, cpus=(CPU,))
        carried.clear()
        carried.update(_sent(lab) - before)
        return carried.total() == FLOWS * PACKETS

    lab.wait(nothing_on_the_fallback, "all flows on clones", 30)
    return set(carried)


def _sent(lab: KernelLab) -> Counter[int]:
    """Packets that each CPU's clones have sent, of west's."""
    sent: Counter[int] = Counter()
    for state in states(lab.west):
        if state.sends and state.cpu is not None:
            sent[state.cpu] += state.packets
    return sent


def _program(lab: KernelLab, device: str) -> str | None:
    """The name of a device's XDP program."""
    (link,) = json.loads(lab.west.ip(f"-j -d link show {device}"))
    return link["xdp"]["prog"]["name"] if "xdp" in link else None
