"""nic-offload= and mobike=: when our address changes, the states on the card go on there, with the new one."""

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
        lab.west.ip(f"address del {WEST.address}/24 dev {CARD}")
        lab.west.ip(f"address add {ELSEWHERE}/24 dev {CARD}")
        lab.wait(lambda: lab.west.ip("xfrm state").count(ELSEWHERE) == 2, "states with the new address", 30)
        lab.wait(lambda: on_card(lab.west) == 2, "both states on the card again")
        expect("what status says of it", west.status().data_plane["offload"], "gw: in crypto out crypto")
        expect("exit codes", [west.stop(), east.stop()], [0, 0])
        expect("states left", lab.leftovers(lab.west), "")
