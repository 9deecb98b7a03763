"""clones-encap=yes: ikeclone sends each clone's ESP from a UDP port of its own; IKE and the fallback stay on 4500."""

from interop.judge import esp_ports
from interop.lab import EAST, WEST, Lab, expect
from interop.steps import open_clones, rekey_children

DYNAMIC = range(49152, 65536)


def run(lab: Lab) -> None:
    ours = open_clones(lab, {"clones-encap": "yes"})
    expect("port of the fallback", ping_all(lab, ours)["gw-0"], 4500)
    before = clone_ports(lab, ours)
    expect("ports that are not dynamic", set(before.values()) - set(DYNAMIC), set())
    expect("distinct ports", len(set(before.values())), len(ours))
    rekey_children(lab, ours, lambda: lab.ikeclone.command("rekey", "gw"))
    expect("ports after the rekey", clone_ports(lab, ours), before)
    expect("ports of strongSwan's ESP", set(esp_ports(lab.capture, EAST.address).values()), {4500})
    (sa,) = lab.ikeclone.ike_sas()
    expect("path of the IKE SA", sa.path, f"{WEST.address}[4500]...{EAST.address}[4500]")


def clone_ports(lab: Lab, ours: list[int]) -> dict[str, int]:
    """The ports of the clones' ESP by name."""
    return {name: port for name, port in ping_all(lab, ours).items() if name != "gw-0"}


def ping_all(lab: Lab, ours: list[int]) -> dict[str, int]:
    """Ping on each CPU; the UDP source port of each SA that has sent, by name."""
    for cpu in ours:
        expect(f"replies on CPU {cpu}", lab.ping(cpu=cpu), 2)
    seen = esp_ports(lab.capture, WEST.address)
    rows = lab.ikeclone.clones("gw").rows
    return {row.name: seen[row.outbound_spi] for row in rows if row.outbound_spi in seen}
