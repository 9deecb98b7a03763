"""The largest packet that passes a tunnel: hosts behind it and the gateway itself are told it, IPv4 and IPv6, exactly.

So with policies alone, with an XFRM interface, with ESP in UDP, and after the way to the peer has become narrower.
"""

import re
from collections.abc import Mapping

from ikeclone.demo.namespaces import Namespace
from ikeclone.demo.tunnel import DEVICE
from interop.kernel.lab import KernelLab, up
from interop.kernel.scenarios.forwarding import HOSTS, behind
from interop.lab import EAST, EAST6, WEST, WEST6, expect
from interop.swanctl import End

HOSTS6 = {WEST.name: "2001:db8:a::2", EAST.name: "2001:db8:b::2"}
NETS = {"leftsubnets": f"{WEST.net},{WEST6.net}", "rightsubnets": f"{EAST.net},{EAST6.net}"}
WIDE, NARROW = 1500, 1400
# Outer header, SPI and sequence number, IV, ICV, and the last two octets of the padding, which aligns to four.
ESP = 20 + 8 + 8 + 16 + 2
UDP = 8
ICMP = {4: 20 + 8, 6: 40 + 8}  # octets of a ping that are not its data


def run(lab: KernelLab) -> None:
    with Namespace("sunrise") as sunrise, Namespace("sunset") as sunset:
        for gateway, host, end, end6 in ((lab.west, sunset, WEST, WEST6), (lab.east, sunrise, EAST, EAST6)):
            behind(gateway, end, host)
            with_ipv6(gateway, end6, host, HOSTS6[end.name])
        tunnel(lab, sunset, {}, ESP)
        tunnel(lab, sunset, {"encapsulation": "yes"}, ESP + UDP)
        lab.west.ip(f"route del {EAST.net}")
        tunnel(lab, sunset, {"ipsec-interface": "7"}, ESP)


def with_ipv6(gateway: Namespace, end6: End, host: Namespace, address: str) -> None:
    """The same for IPv6."""
    gateway.ip(f"address add {end6.inner}/64 dev eth2 nodad")
    gateway.sysctl("net.ipv6.conf.all.forwarding", 1)
    host.ip(f"address add {address}/64 dev eth2 nodad")
    host.ip(f"-6 route add default via {end6.inner}")


def tunnel(lab: KernelLab, sunset: Namespace, settings: Mapping[str, str], overhead: int) -> None:
    """Try packets of the largest size and one octet more, on a wide way and then on a narrower one."""
    common = {**NETS, "leftsubnet": None, "rightsubnet": None}
    east = lab.ikeclone(EAST, common)
    west = lab.ikeclone(settings={**common, **settings})
    up(west)
    for mtu in (WIDE, NARROW):
        lab.west.ip(f"link set {DEVICE} mtu {mtu}")
        for host, source, source6 in (
            (sunset, HOSTS[WEST.name], HOSTS6[WEST.name]),
            (lab.west, WEST.inner, WEST6.inner),
        ):
            check(host, source, HOSTS[EAST.name], mtu - overhead)
            check(host, source6, HOSTS6[EAST.name], mtu - overhead)
    expect("exit codes", [west.stop(), east.stop()], [0, 0])
    lab.west.ip(f"link set {DEVICE} mtu {WIDE}")
    for host in (sunset, lab.west):
        host.ip("route flush cache")
        host.ip("-6 route flush cache")


def check(host: Namespace, source: str, target: str, most: int) -> None:
    what = f"octets from {host.name}, {source} to {target}"
    told = re.search(r"mtu ?[=:] ?(\d+)", ping(host, source, target, most + 1))
    expect(f"largest that is said of {most + 1} {what}", told and int(told[1]), most)
    expect(f"{most} {what}", " 1 received" in ping(host, source, target, most), True)


def ping(host: Namespace, source: str, target: str, size: int) -> str:
    """Send one packet of a size that nobody may fragment; what ping says."""
    data = size - ICMP[6 if ":" in target else 4]
    options = ("-M", "do", "-c", "1", "-W", "5", "-s", str(data), "-I", source)
    return host.run("ping", *options, target, check=False)
