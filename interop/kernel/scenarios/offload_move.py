"""nic-offload= and mobike=: when our address changes, states on the card go on there, nothing leaves in the clear."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ikeclone.demo.namespaces import end
from ikeclone.demo.pings import RunningPing
from interop.kernel.cards import CARD, cards, on_card
from interop.kernel.lab import KernelLab, up
from interop.lab import EAST, WEST, expect

ELSEWHERE = "192.1.2.46"


def run(lab: KernelLab) -> None:
    with cards(lab):
        east = lab.ikeclone(EAST, {"mobike": "yes"})
        west = lab.ikeclone(settings={"nic-offload": "crypto", "mobike": "yes", "esn": "no"})
        up(west)
        lab.wait(lambda: on_card(lab.west) == 2, "both states on the card")
        with leaving(lab) as seen, RunningPing(lab.west, WEST.inner, EAST.inner, 0.005):
            lab.wait(lambda: f"{WEST.address} > {EAST.address}: ESP" in seen(), "ESP from the card")
            move(lab)
            expect("what status says of it", west.status().data_plane["offload"], "gw: in crypto out crypto")
            lab.wait(lambda: f"{ELSEWHERE} > {EAST.address}: ESP" in seen(), "ESP with the new address")
        expect("packets in the clear", [line for line in seen().splitlines() if WEST.inner in line], [])
        expect("exit codes", [west.stop(), east.stop()], [0, 0])
        expect("states left", lab.leftovers(lab.west), "")


def move(lab: KernelLab) -> None:
    """Another address for west, and wait until both states have it and are on the card again."""
    lab.west.ip(f"address del {WEST.address}/24 dev {CARD}")
    lab.west.ip(f"address add {ELSEWHERE}/24 dev {CARD}")
    lab.wait(lambda: lab.west.ip("xfrm state").count(ELSEWHERE) == 2, "states with the new address", 30)
    lab.wait(lambda: on_card(lab.west) == 2, "both states on the card again")


@contextmanager
def leaving(lab: KernelLab) -> Iterator[Callable[[], str]]:
    """What leaves west meanwhile but IKE, as tcpdump tells it."""
    file = lab.logs / "leaving.txt"
    with file.open("w") as written:
        tcpdump = lab.west.start("tcpdump", "-n", "-l", "-i", CARD, "-Q", "out", "ip and not udp", stdout=written)
        yield file.read_text
        end(tcpdump)
