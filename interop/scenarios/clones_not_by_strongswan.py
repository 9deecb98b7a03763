"""strongSwan knows nothing of clones (per_cpu_sas=no): one regular SA carries every CPU's packets, and rekeys."""

from interop.lab import Lab, cpus, expect
from interop.steps import PING, replace


def run(lab: Lab) -> None:
    lab.strongswan.start(child={"per_cpu_sas": "no"})
    lab.start_ikeclone({"clones": "yes"})
    lab.up()
    for cpu in cpus():
        expect(f"replies on CPU {cpu}", lab.ping(cpu=cpu), 2)
    octets = len(cpus()) * 2 * PING
    ours = [(row.name, row.in_bytes, row.out_bytes) for row in lab.ikeclone.traffic().values()]
    expect("ikeclone's Child SAs", ours, [("gw", octets, octets)])
    expect("strongSwan's Child SAs", [child.cpu for child in lab.strongswan.children()], [""])
    expect("IKE messages: IKE_SA_INIT and IKE_AUTH alone", lab.judge().ike, 4)
    for rekey in (lambda: lab.ikeclone.command("rekey", "gw"), lab.strongswan.rekey_children):
        replace(lab, lambda: {row.serial for row in lab.ikeclone.traffic().values()}, rekey)
    expect("instances after rekeys", list(lab.ikeclone.traffic()), ["gw"])
