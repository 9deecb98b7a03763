"""Each side in turn loses an IKE SA and has it back by a ticket of the other's, with traffic before and after.

There is no IKE_SA_INIT then, and so no Diffie-Hellman, and nobody uses the preshared key. Libreswan takes another proof
than RFC 5723 section 4.3.3 says (see `Resumed`): it refuses our first one, and we give it its own from then on.
"""

import re
from collections.abc import Callable

from ikeclone.demo.tunnel import DEVICE
from interop.kernel.lab import CPUS, KernelDaemon, KernelLab, up
from interop.kernel.libreswan import Libreswan
from interop.kernel.steps import ike_serials
from interop.lab import EAST, expect

TIMES = {"dpddelay": "1s", "retransmit-interval": "200", "retransmit-timeout": "3s"}
INIT, RESUME = 34, 38  # the exchange types


def run(lab: KernelLab) -> None:
    peer = lab.libreswan(EAST, **{"auto": "add", "session-resumption": "yes"})
    west = lab.ikeclone(settings={**TIMES, "session-resumption": "yes"})
    up(west)
    exchange(lab, west, peer)
    expect("requests when it refuses our proof", counted(lab, lambda: outage(lab, west)), {RESUME: 1, INIT: 1})
    exchange(lab, west, peer)
    expect("requests when we resume", counted(lab, lambda: outage(lab, west)), {RESUME: 1, INIT: 0})
    exchange(lab, west, peer)
    expect("resumed by us, says Libreswan", len(authenticated(peer)), 1)

    # It keeps the IKE SAs that we have lost.
    west.command("down", "gw")
    peer.kill()
    peer.start()
    # When told to suspend, it deletes the IKE SA as well, with which a ticket ends (RFC 5723 section 6.2).
    peer.whack("--impair", "send-no-delete")
    peer.initiate()
    exchange(lab, west, peer)
    for _ in range(2):
        expect("requests when Libreswan resumes", counted(lab, lambda: suspend(lab, west, peer)), {RESUME: 1, INIT: 0})
        exchange(lab, west, peer)
    expect("resumed by either, says Libreswan", len(authenticated(peer)), 3)


def exchange(lab: KernelLab, west: KernelDaemon, peer: Libreswan) -> None:
    """Pings both ways on the one Child SA that both have."""
    expect("replies", lab.ping(CPUS[0], 2), 2)
    expect("our IKE SAs", len(west.ike_sas()), 1)
    expect("Child SAs of both", (len(west.traffic()), len(peer.children())), (1, 1))


def outage(lab: KernelLab, west: KernelDaemon) -> None:
    """The cable is cut until we have given up the IKE SA; we have another one, as soon as it is whole."""
    for side in (lab.west, lab.east):
        side.run("tc", "qdisc", "replace", "dev", DEVICE, "root", "netem", "loss", "100%")
    lab.wait(lambda: not west.ike_sas(), "ikeclone without an IKE SA")
    for side in (lab.west, lab.east):
        side.run("tc", "qdisc", "del", "dev", DEVICE, "root")
    lab.wait(lambda: west.ike_sas() and west.traffic(), "the tunnel again")


def suspend(lab: KernelLab, west: KernelDaemon, peer: Libreswan) -> None:
    """Libreswan forgets its SAs without a word, and comes back."""
    before = ike_serials(west)
    peer.whack("--suspend", "--name", "gw")
    expect("IKE SAs of Libreswan's", peer.ike_sas(), [])
    peer.initiate()
    lab.wait(lambda: len(ike_serials(west)) == 1 and not before & ike_serials(west), "the resumed IKE SA instead")


def counted(lab: KernelLab, act: Callable[[], None]) -> dict[int, int]:
    """How many initiators asked for IKE_SESSION_RESUME and for IKE_SA_INIT on the cable meanwhile."""
    before = {kind: asked(lab, kind) for kind in (RESUME, INIT)}
    act()
    return {kind: len(asked(lab, kind) - before[kind]) for kind in (RESUME, INIT)}


def asked(lab: KernelLab, kind: int) -> set[str]:
    """The SPIs of those who have sent requests of an exchange type to port 500."""
    request = f"udp port 500 and udp[26] = {kind} and udp[27] & 0x20 = 0"
    seen = lab.west.run("tcpdump", "-n", "-x", "-r", str(lab.logs / "cable.pcap"), request)
    # The SPI is behind the headers of IPv4 and UDP, 28 octets.
    octets = [re.sub(r"\s|0x[0-9a-f]+:", "", packet) for packet in re.findall(r"(?:\n\t.*)+", seen)]
    return {each[56:72] for each in octets}


def authenticated(peer: Libreswan) -> list[str]:
    """What Libreswan logs of each IKE SA that was resumed."""
    peer.collect()
    log = (peer.logs / f"{peer.local.name}.pluto.log").read_text()
    return [line for line in log.splitlines() if "authby=session-resume" in line]
