"""ikeclone does not rekey: the fallback and the clones go when their time is over, and traffic brings them back."""

from interop.lab import Lab, expect
from interop.steps import open_clones, reopen


def run(lab: Lab) -> None:
    ours = open_clones(lab, {"auto": "ondemand", "rekey": "no", "salifetime": "5s"})
    lab.wait(lambda: not lab.ikeclone.traffic(), "ikeclone without Child SAs")
    lab.wait(lambda: not lab.strongswan.children(), "strongSwan without Child SAs")
    expect("IKE SAs of ikeclone", len(lab.ikeclone.ike_sas()), 1)
    expect("replies", lab.ping(cpu=ours[0]), 2)
    for cpu in ours:
        reopen(lab, cpu)
    expect("ikeclone's Child SAs", len(lab.ikeclone.traffic()), 1 + len(ours))
