"""Each side deletes clones: strongSwan one after the other, ikeclone those that are idle; traffic brings them back."""

from interop.kernel.lab import CPUS, KernelLab, clones, up
from interop.kernel.scenarios.strongswan import open_clones
from interop.lab import EAST, expect


def run(lab: KernelLab) -> None:
    peer = lab.strongswan(EAST, per_cpu_sas="yes", start_action="trap")
    west = lab.ikeclone(settings={"clones": "yes", "clones-idle": "20s"})
    up(west)
    open_clones(lab, west)
    for child in [child.number for child in peer.children() if child.cpu != "-"]:
        before = len(clones(west))
        peer.terminate_child(child)
        lab.wait(lambda: len(clones(west)) < before, "a clone less")  # noqa: B023  it is waited for at once
        for cpu in CPUS:
            lab.wait(lambda: lab.ping(cpu, patience=1), f"a reply on CPU {cpu}")  # noqa: B023  likewise
    open_clones(lab, west)
    lab.wait(lambda: not clones(west), "the end of idle clones", 60)
    expect("what is left", list(west.traffic()), ["gw-0"])
    open_clones(lab, west)
