"""A router with NAT between them: ESP in UDP, clones; the router's address and port change, and the tunnel follows."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ikeclone.demo.daemons import DaemonProcess
from ikeclone.demo.namespaces import Namespace
from interop.kernel.lab import CPUS, KernelLab, PinnedPing, clones, up
from interop.kernel.steps import expect_no_states, renew_children, renew_ike
from interop.lab import EAST, WEST, expect

INSIDE, GATEWAY = "10.0.0.2", "10.0.0.1"
MAPPED, REMAPPED = "203.0.113.1", "203.0.113.3"
SERVER = "203.0.113.2"
NAT = """\
flush ruleset
table inet nat {{
  chain out {{
    type nat hook postrouting priority srcnat
    oifname eth4 meta l4proto udp masquerade to :{first}-{last}
  }}
}}
"""
CPU = 1


def run(lab: KernelLab) -> None:
    with router(lab) as between:
        nat(lab, between, 10000)
        east = lab.ikeclone(EAST, {"left": "%any", "right": SERVER, "clones": "yes"})
        west = lab.ikeclone(WEST, {"left": INSIDE, "right": SERVER, "clones": "yes", "dpddelay": "1s"})
        up(west)
        expect("states with UDP", lab.west.ip("xfrm state").count("encap type espinudp"), 2)
        for cpu in CPUS:
            lab.wait(lambda: lab.ping(cpu) and cpu in clones(west), f"a clone for CPU {cpu}")  # noqa: B023
        expect_mapping(east, MAPPED, 10000)
        with PinnedPing(lab.west, CPU) as running:
            running.await_replies()
            nat(lab, between, 20000)
            between.ip(f"address del {MAPPED}/24 dev eth4")  # the router forgets what it has mapped to it
            between.ip(f"address add {REMAPPED}/24 dev eth4")
            running.await_replies(patience=60)
        # ESP moves the SA that it came on, a message of IKE the rest: west asks whether east is there.
        lab.wait(lambda: destinations(lab) == {REMAPPED}, f"states of east that send to {REMAPPED} alone", 60)
        expect_mapping(east, REMAPPED, 20000)
        for cpu in CPUS:
            expect(f"replies on CPU {cpu}", lab.ping(cpu, 2), 2)
        renew_children(lab, west, lambda: east.command("rekey", "gw"))
        renew_ike(lab, west, lambda: east.command("rekey", "gw", "--ike"))
        expect("replies after rekeys by the side without NAT", lab.ping(CPU, 2), 2)
        west.command("down", "gw")
        expect_no_states(lab)


@contextmanager
def router(lab: KernelLab) -> Iterator[Namespace]:
    """A router between west, in a private network, and east."""
    with Namespace("router") as between:
        lab.west.connect(between, "eth3", f"{INSIDE}/24", f"{GATEWAY}/24")
        between.connect(lab.east, "eth4", f"{MAPPED}/24", f"{SERVER}/24")
        between.sysctl("net.ipv4.ip_forward", 1)
        lab.west.ip(f"route add {SERVER} via {GATEWAY}")
        lab.west.ip(f"route replace {EAST.net} via {GATEWAY} src {WEST.inner}")
        lab.east.ip(f"route replace {WEST.net} via {MAPPED} src {EAST.inner}")
        yield between


def nat(lab: KernelLab, router: Namespace, first: int) -> None:
    """Have new mappings of a router get a port of the hundred from `first` on."""
    (lab.logs / "nat.nft").write_text(NAT.format(first=first, last=first + 99))
    router.run("nft", "--file", lab.logs / "nat.nft")


def expect_mapping(east: DaemonProcess, address: str, first: int) -> None:
    """East has west where the router has put it."""
    (path,) = [sa.path for sa in east.ike_sas()]
    host, _, port = path.rpartition("...")[2].rstrip("]").partition("[")
    expect("address of west for east", host, address)
    expect(f"port {port} of west for east is of those from {first} on", first <= int(port) < first + 100, True)


def destinations(lab: KernelLab) -> set[str]:
    """Where east's states send to."""
    return set(re.findall(rf"^src {SERVER} dst (\S+)", lab.east.ip("xfrm state"), re.MULTILINE))
