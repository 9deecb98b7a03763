"""strongSwan deletes a clone, then the rest: ikeclone lets each go, and can come up again."""

from interop.lab import Lab, cpus, expect
from interop.scenarios.clones import open_clones


def run(lab: Lab) -> None:
    open_clones(lab, cpus()[:2])
    _, *clones = lab.strongswan.children()
    lab.strongswan.terminate_child(clones[0].number)
    lab.wait(lambda: len(lab.ikeclone.traffic()) == len(clones), "a clone less")
    expect("replies without that clone", lab.ping(), 2)
    for child in lab.strongswan.children():
        lab.strongswan.terminate_child(child.number)
    lab.wait(lambda: not lab.ikeclone.traffic(), "ikeclone without Child SAs")
    lab.up()
    expect("replies after another up", lab.ping(), 2)
