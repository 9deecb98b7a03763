"""strongSwan deletes a clone, then the rest: ikeclone lets each go, and can come up again."""

from interop.lab import Lab, expect
from interop.steps import open_clones


def run(lab: Lab) -> None:
    ours = open_clones(lab)
    lab.strongswan.terminate_child(lab.strongswan.children()[-1].number)
    lab.wait(lambda: len(lab.ikeclone.traffic()) == len(ours), "a clone less")
    expect("replies without that clone", lab.ping(), 2)
    for child in lab.strongswan.children():
        lab.strongswan.terminate_child(child.number)
    lab.wait(lambda: not lab.ikeclone.traffic(), "ikeclone without Child SAs")
    lab.up()
    expect("replies after another up", lab.ping(), 2)
