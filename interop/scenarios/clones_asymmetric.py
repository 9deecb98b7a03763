"""clones=1, then more clones than there are CPUs: never more than either allows, and every CPU's packets flow."""

from interop.lab import Lab, cpus, expect
from interop.steps import clones_of, reopen


def run(lab: Lab) -> None:
    lab.strongswan.start(child={"per_cpu_sas": "yes"})
    for limit in (1, 2 * len(cpus())):
        lab.start_ikeclone({"clones": str(limit)})
        lab.up()
        served = cpus()[:limit]
        for cpu in served:
            reopen(lab, cpu)
        for cpu in cpus():
            expect(f"replies on CPU {cpu} with clones={limit}", lab.ping(cpu=cpu), 2)
        expect(f"CPUs with clones={limit}", clones_of(lab), served)
        expect("strongSwan's Child SAs", len(lab.strongswan.children()), 1 + len(served))
        lab.ikeclone.command("down", "gw")
        lab.expect_nothing()
