"""A router between the gateways takes less than their cables: hosts are told the largest packet, TCP gets through."""

from collections.abc import Iterator
from contextlib import contextmanager

from ikeclone.demo.namespaces import Namespace, end
from interop.kernel.lab import KernelLab, up
from interop.kernel.scenarios.forwarding import HOSTS, behind
from interop.kernel.scenarios.pmtu import ESP, HOSTS6, NARROW, NETS, UDP, check, with_ipv6
from interop.kernel.scenarios.streams import await_listening
from interop.lab import EAST, EAST6, WEST, WEST6, expect

WAN = "wan0"
OUTER = ("198.51.100.1", "203.0.113.1")
OUTER6 = ("2001:db8:c::1", "2001:db8:d::1")
IPV6 = 20  # octets that the outer header is longer
OCTETS = 500_000


def run(lab: KernelLab) -> None:
    with Namespace("sunrise") as sunrise, Namespace("sunset") as sunset, routed(lab):
        for gateway, host, near, near6 in ((lab.west, sunset, WEST, WEST6), (lab.east, sunrise, EAST, EAST6)):
            behind(gateway, near, host)
            with_ipv6(gateway, near6, host, HOSTS6[near.name])
        tunnel(lab, sunset, sunrise, OUTER, ESP)
        tunnel(lab, sunset, sunrise, OUTER, ESP + UDP, encapsulation="yes")
        tunnel(lab, sunset, sunrise, OUTER6, ESP + IPV6)


@contextmanager
def routed(lab: KernelLab) -> Iterator[None]:
    """Have the gateways reach each other by a router which finds the way to either of them narrow."""
    with Namespace("router") as router:
        for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            router.sysctl(setting, 1)
        for gateway, address, address6 in zip((lab.west, lab.east), OUTER, OUTER6, strict=True):
            device = f"to{gateway.name}"
            router.ip(f"link add {device} type veth peer name {WAN} netns {gateway.path}")
            router.ip(f"link set {device} up")
            gateway.ip(f"link set {WAN} up")
            for own, others, prefix in ((address, address[:-1] + "254", 24), (address6, address6[:-1] + "254", 64)):
                nodad = " nodad" if ":" in own else ""
                gateway.ip(f"address add {own}/{prefix} dev {WAN}{nodad}")
                router.ip(f"address add {others}/{prefix} dev {device}{nodad}")
                router.ip(f"route add {own} dev {device} mtu lock {NARROW}")
                there = (OUTER6 if ":" in own else OUTER)[gateway is lab.west]
                gateway.ip(f"route add {there} via {others}")
        yield


def tunnel(
    lab: KernelLab, sunset: Namespace, sunrise: Namespace, ends: tuple[str, str], overhead: int, **settings: str
) -> None:
    """TCP each way, whose first full segment is too large; afterwards hosts are told by their gateways."""
    common: dict[str, str | None] = {**NETS, "leftsubnet": None, "rightsubnet": None, "left": ends[0], "right": ends[1]}
    east, west = lab.ikeclone(EAST, common), lab.ikeclone(settings={**common, **settings})
    up(west)
    for host, here, other, there in ((sunset, WEST, sunrise, EAST), (sunrise, EAST, sunset, WEST)):
        transfer(host, other, HOSTS[there.name])
        for addresses in (HOSTS, HOSTS6):
            check(host, addresses[here.name], addresses[there.name], NARROW - overhead)
    expect("exit codes", [west.stop(), east.stop()], [0, 0])
    for forgetful in (lab.west, lab.east, sunset, sunrise):
        forgetful.ip("route flush cache")
        forgetful.ip("-6 route flush cache")


def transfer(host: Namespace, other: Namespace, address: str) -> None:
    """Send some octets to another host by TCP."""
    server = other.start("iperf3", "-s", "-1", "--forceflush", "-B", address)
    await_listening(server)
    client = host.start("iperf3", "-c", address, "-n", str(OCTETS))
    said, _ = client.communicate(timeout=60)
    expect(f"iperf3 to {address}, which says {said}", client.returncode, 0)
    end(server)
