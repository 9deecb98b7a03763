"""strongSwan gives each of its SAs a UDP port (per_cpu_sas=encap): clones are made, and what ikeclone sends arrives.

Its ESP in user space has no socket for such ports and cannot answer; its IKE stays on port 4500 and works.
"""

from interop.lab import EAST, WEST, Lab, cpus, expect
from interop.steps import PING, clones_of

PINGS = 4


def run(lab: Lab) -> None:
    ours = cpus()[:2]
    lab.strongswan.start(child={"per_cpu_sas": "encap"})
    lab.start_ikeclone({"clones": "2"})
    lab.up()
    for cpu in ours:
        lab.ping(count=PINGS, cpu=cpu, patience=1)
    lab.wait(lambda: clones_of(lab) == ours, "a clone for each CPU")
    sent = sorted(row.out_bytes for row in lab.ikeclone.traffic().values())
    expect("octets sent", sum(sent), len(ours) * PINGS * PING)
    expect("octets that came in at strongSwan", sorted(child.octets["in"] for child in lab.strongswan.children()), sent)
    lab.ikeclone.command("rekey", "gw")
    lab.strongswan.rekey_ike()
    lab.wait(lambda: list(lab.strongswan.ike_sas().values()) == ["ESTABLISHED"], "strongSwan with one IKE SA")
    (sa,) = lab.ikeclone.ike_sas()
    expect("path of the IKE SA", sa.path, f"{WEST.address}[4500]...{EAST.address}[4500]")
    expect("clones after rekeys", clones_of(lab), ours)
