"""A card that refuses rules and a hash for SPIs, as netdevsim does, is asked for them; XDP does it then."""

from interop.kernel.cards import CARD, cards
from interop.kernel.lab import CPUS, KernelDaemon, KernelLab, clones, up
from interop.lab import EAST, expect

CLONES = {"clones": "yes"}
UNABLE = "rules of the card: it takes none (Operation not supported); RSS: it has none (Operation not supported)"


def run(lab: KernelLab) -> None:
    with cards(lab):
        east = lab.ikeclone(EAST, CLONES, "steering=nic")
        west = lab.ikeclone(settings=CLONES)
        up(west)
        expect("replies", lab.ping(CPUS[1]), 1)
        lab.wait(lambda: CPUS[1] in clones(west), "a clone")
        expect("what the card is said to do", _told(east), f"none on {CARD} (not {UNABLE})")
        expect("what is done instead", _told(west).startswith(f"XDP (generic) on {CARD}"), True)
        expect("and why", f"(not {UNABLE})" in _told(west), True)
        expect("replies on the clone", lab.ping(CPUS[1], 5), 5)
        expect("exit codes", [west.stop(), east.stop()], [0, 0])


def _told(daemon: KernelDaemon) -> str:
    return daemon.status().data_plane["receive steering"]
