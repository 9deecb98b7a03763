"""ikeclone deletes clones that are idle and keeps the fallback; traffic brings them back."""

from interop.lab import Lab, expect
from interop.steps import clones_of, open_clones, reopen


def run(lab: Lab) -> None:
    ours = open_clones(lab, {"clones-idle": "2s"})
    lab.wait(lambda: not clones_of(lab), "ikeclone without clones", 20)
    expect("ikeclone's Child SAs", list(lab.ikeclone.traffic()), ["gw-0"])
    lab.wait(lambda: [child.cpu for child in lab.strongswan.children()] == ["-"], "strongSwan with the fallback alone")
    for cpu in ours:
        expect(f"replies on CPU {cpu}, through the fallback", lab.ping(cpu=cpu), 2)
        reopen(lab, cpu)
