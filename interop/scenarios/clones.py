"""A fallback, then a clone for each CPU with traffic, opened by ikeclone; each CPU sends on its own SA."""

from interop.lab import Lab, cpus, expect

PING = 84


def run(lab: Lab) -> None:
    ours = cpus()[:2]
    open_clones(lab, ours)
    expect("strongSwan's SA without a CPU", [child.cpu for child in lab.strongswan.children()].count("-"), 1)
    for cpu in ours:
        before = lab.ikeclone.traffic()
        expect(f"replies on CPU {cpu}", lab.ping(count=2, cpu=cpu), 2)
        after = lab.ikeclone.traffic()
        sent = {row.cpu: row.out_bytes - before[name].out_bytes for name, row in after.items()}
        expect(
            f"sent, by CPU, from CPU {cpu}",
            {cpu: octets for cpu, octets in sent.items() if octets},
            {cpu: 2 * PING},
        )
        # strongSwan's ESP in user space answers on its newest SA, whichever that is.
        received = [row.in_bytes - before[name].in_bytes for name, row in after.items()]
        expect(f"received for CPU {cpu}", sum(received), 2 * PING)
    lost = sum(row.out_bytes for row in lab.ikeclone.traffic().values()) - sum(
        child.octets["in"] for child in lab.strongswan.children()
    )
    expect("octets sent that strongSwan did not receive", lost, 0)


def open_clones(lab: Lab, ours: list[int]) -> None:
    """Bring both sides up with a clone for each of these CPUs."""
    lab.strongswan.start(child={"per_cpu_sas": "yes"})
    lab.start_ikeclone({"clones": "2"})
    lab.up()
    expect("instances after up", list(lab.ikeclone.traffic()), ["gw-0"])
    for cpu in ours:
        expect(f"replies on CPU {cpu}, through the fallback", lab.ping(count=1, cpu=cpu), 1)
    lab.wait(
        lambda: sorted(row.cpu for row in lab.ikeclone.traffic().values() if row.cpu is not None) == ours,
        "clones",
    )
    lab.wait(lambda: len(lab.strongswan.children()) == 1 + len(ours), "strongSwan's Child SAs")
