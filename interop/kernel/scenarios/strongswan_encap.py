"""strongSwan sends each SA from a UDP port of its own (per_cpu_sas=encap): clones, rekeys; IKE stays where it is."""

import re

from interop.kernel.lab import CPUS, KernelLab, up
from interop.kernel.scenarios.strongswan import open_clones, rekey_by_both
from interop.lab import EAST, expect

FROM_PORT = re.compile(r"espinudp sport (\d+) dport 4500")


def run(lab: KernelLab) -> None:
    peer = lab.strongswan(EAST, {"encap": "yes"}, per_cpu_sas="encap", start_action="trap")
    west = lab.ikeclone(settings={"clones": "yes"})
    up(west)
    (ike,) = west.ike_sas()
    open_clones(lab, west)
    ports = {port for port in FROM_PORT.findall(lab.east.ip("xfrm state")) if port not in ("0", "4500")}
    expect("strongSwan has a port for each clone", len(ports) >= len(CPUS), True)
    rekey_by_both(lab, west, peer)
    expect("path of IKE", [sa.path for sa in west.ike_sas()], [ike.path])
