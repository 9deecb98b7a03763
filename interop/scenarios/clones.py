"""A fallback, then a clone for each CPU with traffic, opened by ikeclone; each CPU sends on its own SA."""

from interop.lab import Lab, expect
from interop.steps import PING, open_clones


def run(lab: Lab) -> None:
    ours = open_clones(lab)
    expect("strongSwan's SAs without a CPU", [child.cpu for child in lab.strongswan.children()].count("-"), 1)
    for cpu in ours:
        before = lab.ikeclone.traffic()
        expect(f"replies on CPU {cpu}", lab.ping(cpu=cpu), 2)
        after = lab.ikeclone.traffic()
        sent = {row.cpu: row.out_bytes - before[name].out_bytes for name, row in after.items()}
        expect(f"octets sent from CPU {cpu}", {at: count for at, count in sent.items() if count}, {cpu: 2 * PING})
        # strongSwan's ESP in user space answers on its newest SA, whichever that is.
        received = sum(row.in_bytes - before[name].in_bytes for name, row in after.items())
        expect(f"octets received for CPU {cpu}", received, 2 * PING)
    theirs = sorted(child.octets["in"] for child in lab.strongswan.children())
    expect("octets of each SA at strongSwan", theirs, sorted(row.out_bytes for row in lab.ikeclone.traffic().values()))
