"""nic-offload=: states are on the card, of clones too; auto says what it got; packet is refused by name."""

from interop.kernel.cards import CARD, cards, on_card
from interop.kernel.lab import CONNECTION_NAME, CPUS, KernelDaemon, KernelLab, clones, up
from interop.lab import EAST, expect


def run(lab: KernelLab) -> None:
    with cards(lab):
        east = lab.ikeclone(EAST, {"clones": "yes"})
        for wanted in ("crypto", "auto"):
            west = lab.ikeclone(settings={"clones": "yes", "nic-offload": wanted, "esn": "no"})
            up(west)
            expect(f"what status says of {wanted}", _told(west), "gw: in crypto out crypto")
            lab.ping(CPUS[1], patience=1)  # netdevsim encrypts nothing: there is no reply
            lab.wait(lambda: CPUS[1] in clones(west), "a clone")  # noqa: B023  it is waited for at once
            lab.wait(lambda: on_card(lab.west) == 4, "both states of both SAs on the card")
            expect("exit code", west.stop(), 0)
            expect("states left", lab.leftovers(lab.west), "")
        west = lab.ikeclone(settings={"nic-offload": "packet", "esn": "no"})
        expect("failure", f"{CARD} refuses nic-offload=packet: " in _failure(west), True)
        expect("exit codes", [west.stop(), east.stop()], [0, 0])
    lab.ikeclone(EAST)
    west = lab.ikeclone(settings={"nic-offload": "auto"})
    up(west)
    expect("what status says without such a card", _told(west), "gw: in no out no")
    expect("replies", lab.ping(CPUS[0]), 1)
    west.stop()
    west = lab.ikeclone(settings={"nic-offload": "crypto"})
    expect("failure", "eth1 refuses nic-offload=crypto: it has none" in _failure(west), True)


def _told(daemon: KernelDaemon) -> str:
    return daemon.status().data_plane["offload"]


def _failure(daemon: KernelDaemon) -> str:
    """What comes of an attempt to bring the connection up."""
    return daemon.command("up", CONNECTION_NAME, check=False) + daemon.last_words()
